package confcomjson

import (
	"context"
	"errors"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

// Read returns the one group of a configuration.
func Read(ctx context.Context, doc workload.Document) ([]workload.Group, error) {
	return nil, errors.New("read configurations: not built yet")
}

// ReadContainers returns the containers of a document that has them as policies do, with their layers.
func ReadContainers(ctx context.Context, doc workload.Document) ([]workload.Container, error) {
	return nil, errors.New("read policy containers: not built yet")
}

// Fields returns what Read understands.
func Fields() []workload.Field { return nil }
