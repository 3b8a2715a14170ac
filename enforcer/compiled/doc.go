// Package compiled judges plain policies in Go: policies that are data, with rules that only delegate to the framework. It
// answers what the framework's Rego text answers, denials and reasons included, in a time that does not grow with the
// policy; a differential test holds the two together.
//
// The policy's data is trusted as far as its digest was compared with HOST_DATA; the strings of an input are the host's. No decision
// changes anything: its change is pending, and is refused when an entry it rests on has changed meanwhile. What fails closed: a
// verdict that takes longer than the deadline, a commit on changed state, an undo that finds something else than it left.
//
// How it stays flat: root hashes, layer chains and commands are looked up, not searched. The containers that an overlay leaves
// possible are one shared bucket, not a list that is copied; what a refusal has to say about all of them is read from a summary
// that is made once a bucket.
package compiled
