package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	// maxInput is the most that is read of start's standard input, in bytes.
	maxInput = 10 << 20
	// maxVersionEnv says which task API a containerd before 2.3 knows; one before 1.7 says nothing, and knows addresses only.
	maxVersionEnv = "MAX_SHIM_VERSION"
	// The versions of the task API that are served.
	oldest, newest = 2, 3
)

// legacyStart is a `start` of containerd 1.x, or 2.0 to 2.2: everything is in flags and the environment, runtime options are on standard input.
type legacyStart struct {
	id, namespace, address string
	debug                  bool
}

// spokenTo looks at a call of the binary: one in the older start protocol is returned with its input. Otherwise standard input is as it was.
func spokenTo(args []string, stdin *os.File) (*legacyStart, []byte) {
	old := legacyStart{}
	flags := flag.NewFlagSet(runtimeName, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&old.id, "id", "", "")
	flags.StringVar(&old.namespace, "namespace", "", "")
	flags.StringVar(&old.address, "address", "", "")
	flags.BoolVar(&old.debug, "debug", false, "")
	for _, name := range []string{"publish-binary", "bundle", "socket", "debug-socket"} {
		flags.String(name, "", "")
	}
	if flags.Parse(args) != nil || !slices.Equal(flags.Args(), []string{"start"}) {
		return nil, nil
	}
	input, err := io.ReadAll(io.LimitReader(stdin, maxInput))
	if err != nil || !isBootstrap(input, old.id, old.namespace) {
		return &old, input
	}
	if err := replay(input); err != nil {
		fmt.Fprintf(os.Stderr, "%s: read bootstrap parameters again: %s", runtimeName, err)
		os.Exit(1)
	}
	return nil, nil
}

// isBootstrap tells bootstrap parameters from runtime options, which may have the same shape on the wire: they name whom they are for, as the flags do.
func isBootstrap(input []byte, id, namespace string) bool {
	params := &bootapi.BootstrapParams{}
	return len(input) > 0 && proto.Unmarshal(input, params) == nil && params.InstanceID == id && params.Namespace == namespace
}

// replay makes standard input what was read of it.
func replay(input []byte) error {
	f, err := os.CreateTemp("", "cloister-bootstrap-")
	if err != nil {
		return err
	}
	_ = os.Remove(f.Name())
	if _, err := io.Copy(f, bytes.NewReader(input)); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	os.Stdin = f
	return nil
}

// start answers in the same protocol: JSON, or the bare address for a containerd that does not say what it knows.
func (l *legacyStart) start(ctx context.Context, m manager, input []byte, out io.Writer) error {
	if l.namespace == "" || l.id == "" {
		return fmt.Errorf("start: got id %q in namespace %q, want both", l.id, l.namespace)
	}
	params := &bootapi.BootstrapParams{
		InstanceID: l.id, Namespace: l.namespace, ContainerdGrpcAddress: l.address, ContainerdTtrpcAddress: os.Getenv("TTRPC_ADDRESS"),
	}
	if l.debug {
		params.LogLevel = bootapi.LogLevel_LOG_LEVEL_DEBUG
	}
	if len(input) > 0 {
		options := &anypb.Any{}
		if err := proto.Unmarshal(input, options); err != nil {
			return fmt.Errorf("start: runtime options: %w", err)
		}
		if err := params.AddExtension(options); err != nil {
			return fmt.Errorf("start: runtime options: %w", err)
		}
	}
	result, err := m.Start(namespaces.WithNamespace(ctx, l.namespace), params)
	if err != nil {
		return err
	}
	known := os.Getenv(maxVersionEnv)
	if known == "" {
		_, err := io.WriteString(out, result.Address)
		return err
	}
	version, err := strconv.Atoi(known)
	if err != nil {
		return fmt.Errorf("start: %s: %w", maxVersionEnv, err)
	}
	return json.NewEncoder(out).Encode(struct {
		Version  int    `json:"version"`
		Address  string `json:"address"`
		Protocol string `json:"protocol"`
	}{max(oldest, min(version, newest)), result.Address, result.Protocol})
}
