package rego

import (
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/point"
)

// Extracts are all objects in data.metadata.issuers as a load leaves them, in the order of the framework's lists.
func Extracts(change point.Pending) []ast.Object {
	p, ok := change.(*pending)
	if !ok {
		return nil
	}
	var all []ast.Object
	eachExtract(p.next, func(_ string, e ast.Object) { all = append(all, e) })
	return all
}
