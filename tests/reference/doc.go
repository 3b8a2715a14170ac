// Package reference compares the enforcer with the reference implementation of the policy contract, and measures one beside
// the other. It is a module of its own, so that nothing of the reference, github.com/Microsoft/hcsshim v0.14.1, is in the
// build or the dependencies of the product. Run it with the tag rego:
//
//	go test -tags rego ./...
//
// The reference speaks framework 0.3.0 and api 0.10.0 at most, and is asked through its exported API alone. It is built with
// the Rego engine of this repository, which is newer than the one it was released with and about twice as fast.
package reference
