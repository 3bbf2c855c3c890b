package luks

import (
	"strconv"
)

// tokenType marks our token among those of other programs.
const tokenType = "lockplate"

// Token is the LUKS2 token of type "lockplate": it says whose container this
// is. It holds identifiers only, nothing that opens anything.
type Token struct {
	Cluster string // UUIDs
	Volume  string
	Drive   string
}

// parseToken takes the first token of our type; all others are only kept.
func (m *meta) parseToken(f fields) {
	if f.str("type") != tokenType || m.token != nil {
		return
	}
	m.token = &Token{Cluster: optional(f, "cluster"), Volume: optional(f, "volume"), Drive: optional(f, "drive")}
}

func optional(f fields, name string) string {
	if !f.has(name) {
		return ""
	}
	return f.str(name)
}

// putToken sets our token, in place of an earlier one or under a free number.
// Members of it that are not ours stay.
func putToken(tree object, t Token) bool {
	tokens := section(tree, "tokens")
	tok, id := object{"type": tokenType, "keyslots": []any{}}, ""
	for n := maxKeyslots - 1; n >= 0; n-- {
		name := strconv.Itoa(n)
		old, used := tokens[name].(object)
		if used && old["type"] == tokenType {
			tok, id = old, name
			break
		}
		if !used {
			id = name
		}
	}
	if id == "" {
		return false
	}
	tok["cluster"], tok["volume"], tok["drive"] = t.Cluster, t.Volume, t.Drive
	tokens[id] = tok
	return true
}
