package workload

// Skipped is a group of a document that no policy is made for, or a part of a document with groups in it.
type Skipped struct {
	Name   string // as the document writes it, an expression as such
	Why    string // what leaves it out
	Policy bool   // the document has, or may have, a policy there, which stays as it is
	Origin Origin
}
