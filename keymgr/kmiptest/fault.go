package kmiptest

import "time"

// Fault makes a Server misbehave. Its members are heeded in their order.
type Fault struct {
	Op    uint32 // operation, 0: any
	Times int    // how often, 0: until Heal

	Delay   time.Duration         // wait before handling
	Drop    bool                  // close without handling
	Reason  uint32                // fail with that instead of handling
	Message string                // text of that failure
	Lose    bool                  // handle, then close without an answer
	Edit    func(*Node)           // change the answer
	Raw     func(b []byte) []byte // change its bytes
	Drip    time.Duration         // wait before every byte of the answer
	HangUp  bool                  // close after the answer
}

// Deny fails with Permission Denied.
func Deny(op uint32) Fault {
	return Fault{Op: op, Reason: ReasonPermissionDenied, Message: "Access is denied."}
}

// Missing fails with Item Not Found.
func Missing(op uint32) Fault {
	return Fault{Op: op, Reason: ReasonItemNotFound, Message: "Could not locate object."}
}

// Garble flips a bit of every key.
func Garble() Fault {
	return Fault{Op: OpGet, Edit: func(n *Node) {
		if m := n.Find(TagBatchItem, TagResponsePayload, TagSymmetricKey, TagKeyBlock, TagKeyValue, TagKeyMaterial); m != nil {
			m.Value[0] ^= 1
		}
	}}
}

// EditItem changes the batch item of an answer.
func EditItem(op uint32, edit func(item *Node)) Fault {
	return Fault{Op: op, Edit: func(n *Node) { edit(n.Find(TagBatchItem)) }}
}

// EditPayload changes the payload of an answer.
func EditPayload(op uint32, edit func(payload *Node)) Fault {
	return EditItem(op, func(item *Node) {
		if p := item.Find(TagResponsePayload); p != nil {
			edit(p)
		}
	})
}

// Replace sends other bytes instead of the answer.
func Replace(op uint32, b []byte) Fault {
	return Fault{Op: op, Raw: func([]byte) []byte { return b }}
}
