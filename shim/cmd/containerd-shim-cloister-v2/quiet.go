package main

import (
	"strings"
	"sync"
	"time"

	"github.com/containerd/log"
)

// quietPause lies between two log lines of the ttrpc library at least.
const quietPause = time.Minute

// formatter is logrus's.
type formatter interface {
	Format(e *log.Entry) ([]byte, error)
}

// quiet makes nothing of most of the lines of the ttrpc library, which has one for each message of a stream that nobody knows: a guest could fill the node's log.
type quiet struct {
	formatter

	mu      sync.Mutex
	next    time.Time
	dropped int
}

// quieten bounds what ttrpc logs in this process.
func quieten() {
	log.L.Logger.SetFormatter(&quiet{formatter: log.L.Logger.Formatter})
}

// Format implements logrus's interface. An empty line is nothing to write.
func (q *quiet) Format(e *log.Entry) ([]byte, error) {
	if strings.HasPrefix(e.Message, "ttrpc: ") {
		dropped, ok := q.admit(e.Time)
		if !ok {
			return nil, nil
		}
		if dropped > 0 {
			told := *e
			told.Data = log.Fields{"dropped": dropped}
			for k, v := range e.Data {
				told.Data[k] = v
			}
			e = &told
		}
	}
	return q.formatter.Format(e)
}

// admit tells whether a line may be written now, and how many were not since the last one.
func (q *quiet) admit(now time.Time) (dropped int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Before(q.next) {
		q.dropped++
		return 0, false
	}
	dropped, q.dropped = q.dropped, 0
	q.next = now.Add(quietPause)
	return dropped, true
}
