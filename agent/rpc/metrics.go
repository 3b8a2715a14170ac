package rpc

import (
	"bytes"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/grpc/codes"

	"github.com/cloister-cc/cloister/enforcer"
)

// Metrics are the agent's counters. Labels come from closed sets: methods with a row, codes, points.
type Metrics struct {
	registry  *prometheus.Registry
	calls     *prometheus.HistogramVec
	decisions *prometheus.CounterVec
}

// NewMetrics registers the agent's counters.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cloister_agent_rpc_duration_seconds", Help: "Time of calls by method and code.",
			Buckets: []float64{.001, .01, .1, 1, 10},
		}, []string{"rpc", "code"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cloister_enforcer_decisions_total", Help: "Decisions by point and outcome.",
		}, []string{"point", "decision"}),
	}
	m.registry.MustRegister(m.calls, m.decisions)
	return m
}

func (m *Metrics) observe(method string, code codes.Code, d time.Duration) {
	if code == codes.Unimplemented {
		method = "unknown"
	}
	m.calls.WithLabelValues(method, code.String()).Observe(d.Seconds())
}

// Decision counts one decision.
func (m *Metrics) Decision(point enforcer.Point, err error) {
	outcome := "allow"
	if err != nil {
		outcome = "deny"
	}
	m.decisions.WithLabelValues(string(point), outcome).Inc()
}

func (m *Metrics) text() (string, error) {
	families, err := m.registry.Gather()
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}
