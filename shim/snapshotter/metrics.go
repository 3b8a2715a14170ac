package snapshotter

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cloister-cc/cloister/verity/layer"
)

// numbers are what a Snapshotter counts.
type numbers struct {
	conversions *prometheus.HistogramVec
	reused      prometheus.Counter
}

func newNumbers() *numbers {
	return &numbers{
		conversions: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cloister_snapshotter_conversion_duration_seconds", Help: "Time from a layer's first byte to its disk, by format and result (ok or error).",
			Buckets: []float64{.1, 1, 10, 60, 600},
		}, []string{"format", "result"}),
		reused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cloister_snapshotter_layers_reused_total", Help: "Layers that were unpacked into a snapshot without a conversion.",
		}),
	}
}

// register adds the numbers to a registry, with what is counted when it is asked for.
func (s *Snapshotter) register(to prometheus.Registerer) error {
	layers := func(name, help string, value func() (float64, error)) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			v, err := value()
			if err != nil {
				return 0
			}
			return v
		})
	}
	for _, c := range []prometheus.Collector{
		s.numbers.conversions, s.numbers.reused,
		layers("cloister_snapshotter_layers", "Layers on the disk.", func() (float64, error) {
			names, err := readNames(s.layers.dir)
			return float64(len(names)), err
		}),
		layers("cloister_snapshotter_layers_bytes", "What layers take on the disk.", func() (float64, error) {
			u, err := usageOf(s.layers.dir)
			return float64(u.Size), err
		}),
	} {
		if err := to.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// converted counts a conversion that has ended.
func (n *numbers) converted(format layer.Format, started time.Time, err error) {
	result := "ok"
	if err != nil {
		result = "error"
	}
	n.conversions.WithLabelValues(string(format), result).Observe(time.Since(started).Seconds())
}
