package tree

import "fmt"

// Kind is what a node is.
type Kind int

// The kinds. Unknown is a value that exists at deployment time only.
const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	Object
	Unknown
)

var kindNames = [...]string{"null", "a boolean", "a number", "a string", "an array", "an object", "known at deployment time only"}

func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind %d", int(k))
	}
	return kindNames[k]
}

// Node is one value. Nodes are not changed once they were read; what is computed from one is a new one.
type Node struct {
	Kind Kind
	Text string // of a string; of a number as it was written; "true" or "false"

	// Pattern is the RE2 pattern of a string with parts that are known at deployment time only; Text is then empty. Every
	// string of the pattern is possible. A node of kind Unknown has none.
	Pattern string
	Secret  bool // the value must not be shown

	Items   []*Node
	Members []Member

	Line       int // 1 is the first; 0 is not known
	Start, End int // bytes of the source, End exclusive; both 0 where the value is not from the source
	// Source is the node that this one was computed from, nil for one that was read.
	Source *Node
}

// Member is one name and value of an object.
type Member struct {
	Name     string
	Line     int
	Start    int // of the name's first byte, its quote included
	Value    *Node
	Computed bool // the name was computed
}

// Read returns the node that was read where n was computed from.
func (n *Node) Read() *Node {
	for n.Source != nil {
		n = n.Source
	}
	return n
}

// Member returns the member of exactly this name.
func (n *Node) Member(name string) *Node {
	for i := range n.Members {
		if n.Members[i].Name == name {
			return n.Members[i].Value
		}
	}
	return nil
}

// Known says that nothing in the value is left to deployment time.
func (n *Node) Known() bool {
	if n.Kind == Unknown || n.Pattern != "" {
		return false
	}
	for _, item := range n.Items {
		if !item.Known() {
			return false
		}
	}
	for i := range n.Members {
		if !n.Members[i].Value.Known() {
			return false
		}
	}
	return true
}

// Equal compares values; lines, bytes and secrecy do not count, the order of members does not either.
func Equal(a, b *Node) bool {
	if a.Kind != b.Kind || a.Text != b.Text || a.Pattern != b.Pattern || len(a.Items) != len(b.Items) || len(a.Members) != len(b.Members) {
		return false
	}
	for i := range a.Items {
		if !Equal(a.Items[i], b.Items[i]) {
			return false
		}
	}
	if len(a.Members) == 0 {
		return true
	}
	byName := make(map[string]*Node, len(b.Members))
	for _, m := range b.Members {
		byName[m.Name] = m.Value
	}
	for _, m := range a.Members {
		other, ok := byName[m.Name]
		if !ok || !Equal(m.Value, other) {
			return false
		}
	}
	return true
}

// Str returns a string that was computed.
func Str(s string) *Node { return &Node{Kind: String, Text: s} }

// Boolean returns a boolean that was computed.
func Boolean(b bool) *Node {
	if b {
		return &Node{Kind: Bool, Text: "true"}
	}
	return &Node{Kind: Bool, Text: "false"}
}
