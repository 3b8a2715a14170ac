package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/emulator/kds"
)

func newDevTEEServeCommand() *cobra.Command {
	var s certServers
	cmd := &cobra.Command{
		Use:   "serve [--kds PORT] [--thim PORT]",
		Short: "Serve the software processor's certificates as AMD's and a cloud's servers do",
		Long: `Serve answers on loopback until it is interrupted: --kds as AMD's key server (VCEK by chip and TCB, certificate chains,
revocation lists), --thim as a cloud host's service for its own processor. Every certificate says
"` + emulator.Subject + `".`,
		Example: `  cloister dev tee serve --kds :8080 --thim :8081
  curl http://127.0.0.1:8080/vcek/v1/Genoa/cert_chain
  curl -H Metadata:true http://127.0.0.1:8081` + kds.PathTHIM + `
  cloister dev tee serve --kds :8080 --throttle 10s --revoke ask`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.serve(cmd.Context(), cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.kds, "kds", "", "port of the key server, or loopback address and port")
	f.StringVar(&s.thim, "thim", "", "port of the host's service, or loopback address and port")
	f.StringVar(&s.dir, "dir", "", authorityHelp)
	f.StringVar(&s.processor, "processor", "", "the host's processor, for --thim (default Genoa)")
	f.DurationVar(&s.throttle, "throttle", 0, "least time between two requests of one address to the key server, such as 10s (default: none)")
	f.StringVar(&s.revoke, "revoke", "", "put a certificate on the revocation lists: ask or asvk")
	f.BoolVar(&s.expired, "expired-crl", false, "serve revocation lists whose time has passed")
	return cmd
}

// certServers is one use of the command.
type certServers struct {
	kds, thim, dir, processor, revoke string

	throttle time.Duration
	expired  bool
}

func (s *certServers) serve(ctx context.Context, out io.Writer) error {
	if s.kds == "" && s.thim == "" {
		return &usageError{errors.New("dev tee serve: want --kds, --thim or both")}
	}
	id, err := processorNamed(s.processor)
	if err != nil {
		return err
	}
	if s.revoke != "" && s.revoke != "ask" && s.revoke != "asvk" {
		return &usageError{fmt.Errorf("--revoke: got %.40q, want ask or asvk", s.revoke)}
	}
	a, err := loadAuthority(s.dir)
	if err != nil {
		return err
	}
	opt := kds.Options{Throttle: s.throttle, CRLExpired: s.expired}
	if s.revoke != "" {
		opt.Revoked = a.Chain(s.revoke == "asvk")[:1]
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, server := range []struct {
		name, address, path string
		handler             http.Handler
	}{
		{"kds", s.kds, "/vcek/v1/", kds.Handler(a, opt)},
		{"thim", s.thim, kds.PathTHIM, kds.THIM(a, id, opt)},
	} {
		if server.address == "" {
			continue
		}
		l, err := kds.Listen(ctx, server.address)
		if err != nil {
			return stopServing(group, &usageError{fmt.Errorf("--%s: %w", server.name, err)})
		}
		announceServer(out, server.name, l, server.path)
		group.Go(func() error { return kds.Serve(ctx, l, server.handler) })
	}
	return group.Wait()
}

// stopServing ends the servers that run already.
func stopServing(group *errgroup.Group, err error) error {
	group.Go(func() error { return err })
	return group.Wait()
}

func announceServer(out io.Writer, name string, l net.Listener, path string) {
	fmt.Fprintf(out, "%-5s http://%s%s\n", name, l.Addr(), path)
}
