package workload

// Document is one file as it was read: Name is what errors and origins call it.
type Document struct {
	Name string
	Data []byte
}

// Field is one member of a document that a reader understands.
type Field struct {
	Path    string // resources[].properties.containers[].properties.command
	Meaning string
	// NoEffect says that the field is understood and changes nothing in a policy.
	NoEffect bool
}
