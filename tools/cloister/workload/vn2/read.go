package vn2

import (
	"context"
	"errors"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

// Annotation is where a pod carries its policy.
const Annotation = "microsoft.containerinstance.virtualnode.ccepolicy"

// Read returns the pods of a document, one group each, in its order.
func Read(ctx context.Context, doc workload.Document) ([]workload.Group, error) {
	return nil, errors.New("read virtual-node documents: not built yet")
}

// Insert returns the document with the policy (base64) as that of the numbered group; no other byte changes.
func Insert(ctx context.Context, doc workload.Document, group int, policy string) ([]byte, error) {
	return nil, errors.New("insert a policy: not built yet")
}

// Fields returns what Read understands.
func Fields() []workload.Field { return nil }
