package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"

	"google.golang.org/protobuf/proto"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/api/session"
	"github.com/cloister-cc/cloister/agent/storage"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/tests/bench/wire"
)

// answer answers questions, one at a time.
func (a *agent) answer(ctx context.Context) error {
	port, err := session.OpenPort(ctx, vm.PortName(wire.Port))
	if err != nil {
		return err
	}
	l := session.Listen(port)
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		a.converse(ctx, conn)
	}
}

func (a *agent) converse(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	for {
		var q wire.Question
		if err := in.Decode(&q); err != nil {
			return
		}
		if q.Op == wire.OpStream {
			if err := stream(conn, q.Bytes); err != nil {
				return
			}
			continue
		}
		answer, err := a.measure(ctx, q)
		if err != nil {
			answer.Error = err.Error()
		}
		if err := out.Encode(answer); err != nil {
			return
		}
	}
}

func (a *agent) measure(ctx context.Context, q wire.Question) (wire.Answer, error) {
	switch q.Op {
	case wire.OpAwait:
		address, err := storage.ParseAddress("scsi", q.Disk)
		if err != nil {
			return wire.Answer{}, err
		}
		c, err := a.disks.Open(ctx, address)
		if err != nil {
			return wire.Answer{}, err
		}
		return wire.Answer{}, c.Close()
	case wire.OpStart:
		var prepared, measured api.CreateContainerRequest
		if err := proto.Unmarshal(q.Prepared, &prepared); err != nil {
			return wire.Answer{}, err
		}
		if err := proto.Unmarshal(q.Measured, &measured); err != nil {
			return wire.Answer{}, err
		}
		runs, err := a.compare(ctx, &prepared, &measured, q.Runs)
		return wire.Answer{Runs: runs}, err
	case wire.OpReference:
		var prepared api.CreateContainerRequest
		if err := proto.Unmarshal(q.Prepared, &prepared); err != nil {
			return wire.Answer{}, err
		}
		references, err := a.reference(ctx, &prepared, q.Runs)
		return wire.Answer{References: references}, err
	case wire.OpEvidence:
		rounds, err := a.evidence(ctx, q.Runs)
		return wire.Answer{Evidence: rounds}, err
	}
	return wire.Answer{}, fmt.Errorf("question %q is not known", q.Op)
}
