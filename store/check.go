package store

import (
	"context"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// Problem is one thing that is wrong with a store.
type Problem struct {
	Where string // page, or key of a record
	Text  string
}

func (p Problem) String() string { return p.Where + ": " + p.Text }

// Check examines a store that no process has open, changing nothing: the
// structure of the file by two independent readers (ours and bbolt's), then
// keys, sizes and the format record. The error says that the check could not be
// done: no such file, ErrLocked, ErrIO.
func Check(path string) ([]Problem, error) {
	db, err := openFile(path, BoltOptions{ReadOnly: true})
	if errors.Is(err, ErrCorrupt) {
		return checkFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("check store %s: %w", path, err)
	}
	defer db.Close()
	var out []Problem
	err = guard(func() error {
		return db.View(func(tx *bolt.Tx) error {
			for err := range tx.Check() {
				out = append(out, Problem{Where: "file", Text: err.Error()})
			}
			out = append(out, checkBuckets(tx)...)
			return nil
		})
	})
	if err != nil || len(out) > 0 {
		return out, err
	}
	s := &Bolt{db: db, path: path}
	err = s.View(context.Background(), func(tx Tx) error {
		out = checkRecords(tx)
		return nil
	})
	return out, err
}

// checkFile reports all that verify finds; openFile stops at the first.
func checkFile(path string) ([]Problem, error) {
	f, err := openLocked(path)
	if err != nil {
		return nil, fmt.Errorf("check store %s: %w", path, err)
	}
	defer f.Close()
	return verifyFile(f)
}

// checkBuckets looks for anything beside our bucket.
func checkBuckets(tx *bolt.Tx) []Problem {
	var out []Problem
	found := false
	_ = tx.ForEach(func(name []byte, _ *bolt.Bucket) error {
		if string(name) == bucketName {
			found = true
		} else {
			out = append(out, Problem{"file", fmt.Sprintf("unknown bucket %.40q", name)})
		}
		return nil
	})
	if !found {
		out = append(out, Problem{"file", "not a lockplate store: no bucket " + bucketName})
	}
	return out
}

func checkRecords(tx Tx) []Problem {
	var out []Problem
	if err := checkFormat(tx); err != nil {
		out = append(out, Problem{KeyFormat, err.Error()})
	}
	for k, v := range tx.Scan("") {
		if err := checkPair(k, v); err != nil {
			out = append(out, Problem{fmt.Sprintf("%.80q", k), err.Error()})
		}
	}
	return out
}
