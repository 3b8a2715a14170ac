// Package journal is the agent's log: zap, JSON, kept in a bounded ring in the guest's memory.
//
// The console belongs to the host, so a logged byte there is a disclosed byte: nothing of the journal reaches it unless the
// policy allowed runtime logging (Forward). What the host can read otherwise is only the fixed catalogue of boot messages.
package journal

import (
	"io"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Size of the ring, in bytes.
const Size = 256 << 10

// Journal is a ring of log lines.
type Journal struct {
	mu      sync.Mutex
	ring    []byte
	start   int // of the oldest byte
	length  int
	forward io.Writer
}

// New makes an empty journal.
func New() *Journal { return &Journal{ring: make([]byte, Size)} }

// Logger writes to the journal. mode stands in each line when the guest runs without a TEE.
func (j *Journal) Logger(component, mode string) *zap.Logger {
	cfg := zap.NewProductionEncoderConfig()
	cfg.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(cfg), zapcore.AddSync(j), zapcore.InfoLevel)).With(zap.String("component", component))
	if mode != "" {
		log = log.With(zap.String("tee", mode))
	}
	return log
}

// Write appends, dropping the oldest bytes.
func (j *Journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.forward != nil {
		// The console is not worth an error: the ring has the line.
		_, _ = j.forward.Write(p)
	}
	n := len(p)
	if len(p) > len(j.ring) {
		p = p[len(p)-len(j.ring):]
	}
	end := (j.start + j.length) % len(j.ring)
	first := copy(j.ring[end:], p)
	copy(j.ring, p[first:])
	j.length += len(p)
	if over := j.length - len(j.ring); over > 0 {
		j.start = (j.start + over) % len(j.ring)
		j.length = len(j.ring)
	}
	return n, nil
}

// Forward also sends what is logged from now on to w; only for a policy that allows runtime logging.
func (j *Journal) Forward(w io.Writer) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.forward = w
}

// Tail returns the newest whole lines, at most max bytes.
func (j *Journal) Tail(max int) []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := make([]byte, 0, j.length)
	out = append(out, j.ring[j.start:min(j.start+j.length, len(j.ring))]...)
	out = append(out, j.ring[:j.length-len(out)]...)
	if j.length == len(j.ring) || len(out) > max {
		out = out[max0(len(out)-max):]
		for i, b := range out {
			if b == '\n' {
				return out[i+1:]
			}
		}
		return nil
	}
	return out
}

func max0(n int) int { return max(n, 0) }
