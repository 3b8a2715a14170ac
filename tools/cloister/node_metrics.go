package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/shim/metrics"
	"github.com/cloister-cc/cloister/shim/node"
)

func newNodeMetricsCommand() *cobra.Command {
	var config, dir, listen string
	cmd := &cobra.Command{
		Use:   "metrics",
		Short: "Merge the metrics of this node's shims",
		Long: `Metrics asks each shim's socket below metrics_dir of node.toml and prints the answers as Prometheus text, each value with a label "pod", the id of the
pod's sandbox, and cloister-snapshotter's besides. With --listen it serves that at /metrics instead, until it is stopped. A shim that does not answer is missing and named on standard
error; with --listen the value cloister_node_scrape_failed is 1 then.`,
		Example: `  cloister node metrics
  cloister node metrics --listen 127.0.0.1:9750`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				c, err := node.Load(config)
				if err != nil {
					return fmt.Errorf("node metrics: %w", err)
				}
				if dir = c.MetricsDir; dir == "" {
					return errors.New("node metrics: this node's shims serve none (set metrics_dir in " + node.Path + ")")
				}
			}
			if listen != "" {
				return serveMetrics(cmd.Context(), newUI(cmd.ErrOrStderr()), listen, dir)
			}
			families, err := metrics.Gather(cmd.Context(), dir)
			if err != nil {
				newUI(cmd.ErrOrStderr()).warn("%v", err)
			}
			return metrics.Write(cmd.OutOrStdout(), families)
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "the node's configuration (default "+node.Path+")")
	cmd.Flags().StringVar(&dir, "dir", "", "directory of the sockets (default: metrics_dir of the configuration)")
	cmd.Flags().StringVar(&listen, "listen", "", "serve HTTP on this address instead of printing")
	return cmd
}

// serveMetrics answers scrapes of the node until the context ends.
func serveMetrics(ctx context.Context, u *ui, address, dir string) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("node metrics: %w", err)
	}
	u.note("serving http://%s/metrics", l.Addr())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		families, err := metrics.Gather(r.Context(), dir)
		failed := 0
		if err != nil {
			failed = 1
			u.warn("%v", err)
		}
		var b bytes.Buffer
		if err := metrics.Write(&b, families); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(&b, "# HELP cloister_node_scrape_failed Whether a shim did not answer.\n# TYPE cloister_node_scrape_failed gauge\ncloister_node_scrape_failed %d\n", failed)
		w.Header().Set("Content-Type", metrics.ContentType)
		_, _ = w.Write(b.Bytes()) // what fails here is the scraper's connection
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("node metrics: %w", err)
	}
	return nil
}
