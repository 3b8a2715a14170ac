// Package artifact keeps signed fragments where images are: in a registry's repository or in an OCI layout, alone under a tag, or attached to
// the image that they are about (services contract, section 2.7).
//
// A fragment is one OCI image manifest of ArtifactType with one layer of the fragment's media type, the document itself. Attached, the
// manifest has the image as its subject, and is found by the referrers API; registries that have none get the tag schema of the
// distribution specification, and are read by it.
//
// # What the registry controls
//
// Everything that is read. Sizes are bounded before anything is kept, bytes must have the digest that named them, names that come with an
// artifact are shown and never become paths. What a document says, and whether its signature holds, is for the caller: this
// package hands bytes out, and anybody who may push to a repository may attach what he likes.
//
// # What goes over the network
//
// TLS, unless the host is the loopback or plain HTTP was asked for. Credentials come from Docker's configuration and the helpers it names,
// and are only read.
//
// # Determinism
//
// The manifest has no time in it: the same document at the same place has the same digest, and pushing it twice changes nothing.
package artifact
