package expr

import "github.com/cloister-cc/cloister/tools/cloister/workload/tree"

// works are the bytes that functions look at beyond reading each argument once, which is counted for all.
var works = map[string]func(args []*tree.Node) int{"split": splitWork, "intersection": firstTimesRest}

func work(name string, args []*tree.Node) int {
	if f := works[name]; f != nil {
		return f(args)
	}
	return 0
}

// splitWork is the string read once for each delimiter.
func splitWork(a []*tree.Node) int { return len(a[0].Text) * (1 + len(a[1].Items)) }

// firstTimesRest is the first argument held against each of the others.
func firstTimesRest(a []*tree.Node) int {
	return (len(a[0].Items) + len(a[0].Members) + size(a[0])) * len(a)
}

// size is the bytes of a value with all that is in it.
func size(n *tree.Node) int {
	s := len(n.Text)
	for _, item := range n.Items {
		s += size(item)
	}
	for i := range n.Members {
		s += len(n.Members[i].Name) + size(n.Members[i].Value)
	}
	return s
}
