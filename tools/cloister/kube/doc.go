// Package kube reads Kubernetes documents: every kind that starts pods, the ConfigMaps and Secrets that those pods name, and
// writes a policy back into the annotations of their pod templates.
//
// What a pod comes to is not decided here but in shim/pod, where `cloister run` has it from: this package finds the templates
// and says what surrounds each. It fails closed like that one: a kind that is not known, a field without a meaning, a name
// that no document has are errors that say where they stand. Kinds that start no pods are passed over, by a list.
//
// The documents are the owner's. They are still bounded and read strictly, since a reader that takes two meanings from one
// text is a hole: values come from one YAML parser, positions from another, and what was written is read again and has to be
// the old document and the annotation.
package kube
