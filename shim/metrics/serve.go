package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// Suffix ends the name of a pod's socket in a node's metrics directory; before it stands the pod's sandbox id.
const Suffix = ".sock"

// Path is the socket of a pod in a node's metrics directory.
func Path(dir, sandboxID string) string { return filepath.Join(dir, sandboxID+Suffix) }

// Serve answers GET /metrics on a Unix socket, readable by the shim's user alone, until the context ends. It makes the socket's directory, replaces a socket that
// nobody listens on any more, and leaves none.
func (s *Set) Serve(ctx context.Context, socket string) error {
	l, err := listen(socket)
	if err != nil {
		return fmt.Errorf("serve metrics on %q: %w", socket, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		families, err := s.Families()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", ContentType)
		_ = Write(w, families) // what fails here is the scraper's connection
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 8 << 10}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics on %q: %w", socket, err)
	}
	return nil
}

func listen(socket string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		return nil, err
	}
	if conn, err := net.Dial("unix", socket); err == nil {
		conn.Close()
		return nil, errors.New("another process listens there")
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// ContentType is the form of Write.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Write writes families in Prometheus' text form.
func Write(w io.Writer, families []*dto.MetricFamily) error {
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return err
		}
	}
	return nil
}
