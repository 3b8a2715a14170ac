package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/proto"
)

const (
	scrapeTimeout = 2 * time.Second // of one shim
	scrapeLimit   = 1 << 20         // bytes of one shim's answer
	scrapeAtOnce  = 8
)

// PodLabel says which pod a value of Gather is of.
const PodLabel = "pod"

// Snapshotter is the name, in a node's metrics directory, of the socket of the node's own daemon. No id of containerd's has a plus sign.
const Snapshotter = "+snapshotter"

// Gather asks every socket of a node's metrics directory and merges the answers, families by name: each value of a shim with the label "pod" (the sandbox id), those of
// the node's daemons, whose names begin with a plus sign, without. A shim that
// does not answer is missing from the result and named in the error, which joins those of all such shims; the families are valid beside it. A directory that is not
// there is a node without pods.
func Gather(ctx context.Context, dir string) ([]*dto.MetricFamily, error) {
	sockets, err := filepath.Glob(filepath.Join(dir, "*"+Suffix))
	if err != nil {
		return nil, fmt.Errorf("gather metrics: %w", err)
	}
	answers := make([]map[string]*dto.MetricFamily, len(sockets))
	failures := make([]error, len(sockets))
	var group sync.WaitGroup
	slots := make(chan struct{}, scrapeAtOnce)
	for i, socket := range sockets {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			answer, err := scrape(ctx, socket)
			if err != nil {
				failures[i] = fmt.Errorf("gather metrics of %q: %w", socket, err)
			}
			answers[i] = answer
		})
	}
	group.Wait()
	all := merged{}
	for i, socket := range sockets {
		pod := strings.TrimSuffix(filepath.Base(socket), Suffix)
		if err := all.add(pod, answers[i]); err != nil {
			failures[i] = fmt.Errorf("gather metrics of %q: %w", socket, err)
		}
	}
	return all.sorted(), errors.Join(failures...)
}

// scrape reads one shim's numbers.
func scrape(ctx context.Context, socket string) (map[string]*dto.MetricFamily, error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://shim/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("got status %d, want 200", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, scrapeLimit+1))
	if err != nil {
		return nil, err
	}
	if len(body) > scrapeLimit {
		return nil, fmt.Errorf("got more than %d bytes", scrapeLimit)
	}
	return Parse(string(body))
}

// Parse reads Prometheus' text form.
func Parse(text string) (map[string]*dto.MetricFamily, error) {
	p := expfmt.NewTextParser(model.LegacyValidation)
	return p.TextToMetricFamilies(strings.NewReader(text))
}

// merged is families by name.
type merged map[string]*dto.MetricFamily

// add takes one pod's families in, or none of them if one has another type than the same name has elsewhere.
func (m merged) add(pod string, families map[string]*dto.MetricFamily) error {
	for name, f := range families {
		if have, ok := m[name]; ok && have.GetType() != f.GetType() {
			return fmt.Errorf("metric %.64q: got type %v, want %v as elsewhere", name, f.GetType(), have.GetType())
		}
	}
	for name, f := range families {
		for _, v := range f.Metric {
			v.Label = slices.DeleteFunc(v.Label, func(l *dto.LabelPair) bool { return l.GetName() == PodLabel })
			if !strings.HasPrefix(pod, "+") {
				v.Label = append(v.Label, &dto.LabelPair{Name: proto.String(PodLabel), Value: proto.String(pod)})
			}
		}
		if have, ok := m[name]; ok {
			have.Metric = append(have.Metric, f.Metric...)
		} else {
			m[name] = f
		}
	}
	return nil
}

func (m merged) sorted() []*dto.MetricFamily {
	var out []*dto.MetricFamily
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[name])
	}
	return out
}
