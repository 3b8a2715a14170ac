package bed

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
)

// Metric asks the pod's shim for one of its numbers.
func (p *Pod) Metric(ctx context.Context, name string) (float64, error) {
	sockets, err := filepath.Glob(filepath.Join(p.node.Dir, "metrics", "*"+p.ID+"*"))
	if err != nil || len(sockets) != 1 {
		return 0, fmt.Errorf("metrics of pod %q: got %d sockets, want one: %w", p.Spec.Name, len(sockets), err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", sockets[0])
	}}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://shim/metrics", nil)
	if err != nil {
		return 0, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("metrics of pod %q have no %q", p.Spec.Name, name)
}
