package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cloister-cc/cloister/shim/pod"
	podrun "github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/tests/bench/wire"
)

// shimReference is what pods under containerd are measured against: the same work in a VM of the same image without containerd, shim and agent in between. The
// measurement of the pods themselves (tests/containerd/bench) reads it from the file that -reference names.
type shimReference struct {
	Start []time.Duration `json:"start"` // crun create and crun start, to the first byte
	Exec  []time.Duration `json:"exec"`  // crun exec, to its end
	// Serial is what a virtio-serial port with our framing carries from guest to host, in bytes a second.
	Serial float64 `json:"serial"`
}

// serialBytes are enough for a second of the fastest port seen.
const serialBytes = 64 << 20

func measureShimReference(ctx context.Context, b *bench) (err error) {
	list, err := makeContainers()
	if err != nil {
		return err
	}
	s, inside, err := b.bootInside(ctx, list)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop(context.WithoutCancel(ctx))) }()
	ref, err := b.bareRounds(ctx, s, inside, list[0])
	// The port takes one client at a time.
	if err := errors.Join(err, inside.close()); err != nil {
		return err
	}
	if ref.Serial, err = serialRate(ctx, s); err != nil {
		return err
	}
	text, err := json.Marshal(ref)
	if err != nil {
		return err
	}
	return os.WriteFile(b.reference, text, 0o644)
}

// bareRounds has the bare runtime work in the VM.
func (b *bench) bareRounds(ctx context.Context, s *podrun.Sandbox, inside *inside, c *pod.Container) (ref shimReference, err error) {
	converted, err := podrun.Convert(ctx, b.layerCache(), []*pod.Container{c})
	if err != nil {
		return ref, err
	}
	request, err := s.Prepare(ctx, converted[0])
	if err != nil {
		return ref, err
	}
	q := wire.Question{Op: wire.OpReference, Runs: b.runs.container}
	if q.Prepared, err = encode(request); err != nil {
		return ref, err
	}
	answer, err := inside.ask(q)
	for _, r := range answer.References {
		ref.Start = append(ref.Start, r.Start)
		ref.Exec = append(ref.Exec, r.Exec)
	}
	return ref, err
}

// serialRate reads what the guest streams, on a connection of its own: nothing but those bytes follows the question.
func serialRate(ctx context.Context, s *podrun.Sandbox) (float64, error) {
	conn, err := s.VM().Dial(ctx, wire.Port)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	begin := time.Now()
	if err := json.NewEncoder(conn).Encode(wire.Question{Op: wire.OpStream, Bytes: serialBytes}); err != nil {
		return 0, err
	}
	n, err := io.CopyN(io.Discard, conn, serialBytes)
	if err != nil {
		return 0, fmt.Errorf("stream from the guest: %d of %d bytes: %w", n, serialBytes, err)
	}
	return float64(n) / time.Since(begin).Seconds(), nil
}
