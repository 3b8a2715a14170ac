package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"

	"github.com/cloister-cc/cloister/shim/node"
	"github.com/cloister-cc/cloister/shim/spec"
)

// maxPolicy is the longest policy a node's file may hold: what one request to the agent takes, in bytes.
const maxPolicy = 4 << 20

var errNoPolicy = fault(errdefs.ErrFailedPrecondition, "the pod has no policy: `cloister policy generate -f POD --annotate policy` writes one into it; "+
	"or have the node's operator set default_policy")

// carried is the pod's policy: that of its annotations, or the node's default for pods without one.
func carried(annotations map[string]string, n *node.Config) (spec.Carried, error) {
	c, err := spec.PolicyOf(annotations)
	if err != nil {
		return spec.Carried{}, fault(errdefs.ErrInvalidArgument, "the pod's policy: %v", err)
	}
	if c.From != "" {
		return c, nil
	}
	if n.DefaultPolicy == "" {
		return spec.Carried{}, errNoPolicy
	}
	text, err := readBounded(n.DefaultPolicy, maxPolicy)
	if err != nil {
		return spec.Carried{}, fmt.Errorf("the node's default policy: %w", err)
	}
	return spec.PolicyFrom(text, n.DefaultPolicy)
}

func readBounded(path string, most int64) (_ []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("read %q: got more than %d bytes", path, most)
	}
	return data, err
}
