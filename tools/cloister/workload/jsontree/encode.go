package jsontree

import (
	"bytes"
	"encoding/json"

	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// Encode writes a value that is wholly known as compact JSON, members in their order, numbers as they were written.
func Encode(n *tree.Node) []byte {
	var b bytes.Buffer
	encode(&b, n)
	return b.Bytes()
}

func encode(b *bytes.Buffer, n *tree.Node) {
	switch n.Kind {
	case tree.Bool, tree.Number:
		b.WriteString(n.Text)
	case tree.String:
		quote(b, n.Text)
	case tree.Array:
		b.WriteByte('[')
		for i, item := range n.Items {
			if i > 0 {
				b.WriteByte(',')
			}
			encode(b, item)
		}
		b.WriteByte(']')
	case tree.Object:
		b.WriteByte('{')
		for i := range n.Members {
			if i > 0 {
				b.WriteByte(',')
			}
			quote(b, n.Members[i].Name)
			b.WriteByte(':')
			encode(b, n.Members[i].Value)
		}
		b.WriteByte('}')
	default:
		b.WriteString("null")
	}
}

func quote(b *bytes.Buffer, s string) {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always encodes
	b.Truncate(b.Len() - 1)
}
