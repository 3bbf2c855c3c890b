package storetest

import (
	"context"
	"errors"

	"lockplate/store"
)

// Retrying returns st with an Update that runs every function twice and lets
// only the second run count. A function that keeps to the contract of
// store.Update does not notice.
func Retrying(st store.Store) store.Store { return retrying{st} }

type retrying struct{ store.Store }

var errConflict = errors.New("storetest: conflict")

func (r retrying) Update(ctx context.Context, fn func(store.Tx) error) error {
	err := r.Store.Update(ctx, func(tx store.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return errConflict
	})
	if !errors.Is(err, errConflict) {
		return err
	}
	return r.Store.Update(ctx, fn)
}
