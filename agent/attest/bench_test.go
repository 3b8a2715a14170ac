package attest

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/snp/eventlog"
)

// wire is a client that costs next to nothing, so that what is measured is the broker: a request is one write, its answer is read into
// one buffer.
type wire struct {
	tb   testing.TB
	conn net.Conn
	in   *bufio.Reader
	buf  []byte
}

func dialWire(tb testing.TB, path string) *wire {
	tb.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	return &wire{tb, conn, bufio.NewReaderSize(conn, 64<<10), make([]byte, 1<<20)}
}

// do sends a request and reads the whole answer, which must be a good one.
func (w *wire) do(request []byte) []byte {
	if _, err := w.conn.Write(request); err != nil {
		w.tb.Fatal(err)
	}
	status, err := w.in.ReadSlice('\n')
	if err != nil || !strings.HasPrefix(string(status), "HTTP/1.1 200") {
		w.tb.Fatalf("got %q, %v", status, err)
	}
	length := 0
	for {
		line, err := w.in.ReadSlice('\n')
		if err != nil {
			w.tb.Fatal(err)
		}
		if len(line) == 2 {
			break
		}
		if value, ok := strings.CutPrefix(string(line), "Content-Length: "); ok {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				w.tb.Fatal(err)
			}
		}
	}
	if _, err := io.ReadFull(w.in, w.buf[:length]); err != nil {
		w.tb.Fatal(err)
	}
	return w.buf[:length]
}

func post(path, body string) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: agent\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

// numbered is a nonce that no other iteration has.
func numbered(i int) []byte {
	nonce := make([]byte, 32)
	binary.BigEndian.PutUint64(nonce, uint64(i))
	return nonce
}

// benchBroker has a policy of 4 KiB and a log of 40 events, as a pod of a few containers has, and no limits that a benchmark would reach.
func benchBroker(tb testing.TB, d Reporter) (*Broker, string) {
	tb.Helper()
	log := newLog()
	for range 40 {
		log.Append(eventlog.Entry{Kind: eventlog.KindDecision, Point: "mount_device", Verdict: eventlog.Allowed})
	}
	o := withPolicy(log)
	policy := &Policy{Text: []byte(strings.Repeat("package policy\n", 273)), Carrier: testPolicy.Carrier, Digest: testPolicy.Digest}
	o.Policy = func() *Policy { return policy }
	o.Rate, o.Burst, o.Requests, o.RequestBurst = 1e9, 1<<30, 1e9, 1<<30
	b := newBroker(d, o)
	tb.Cleanup(b.Close)
	path, _, err := b.Listen(tb.Context(), named("c1", 1), filepath.Join(tb.TempDir(), "attest"))
	if err != nil {
		tb.Fatal(err)
	}
	return b, path
}

// BenchmarkEvidenceAboveDevice is what the broker adds to the call of a device that takes no time: a request over a kept connection, each with a nonce of
// its own. The metric that has a target is p50.
func BenchmarkEvidenceAboveDevice(b *testing.B) {
	for _, c := range []struct {
		name string
		body func(i int) []byte
	}{
		{"evidence", func(i int) []byte { return post("/v1/evidence", nonceBody(numbered(i))) }},
		{"raw", func(i int) []byte { return post("/attest/raw", azureBody(numbered(i))) }},
		{"combined", func(i int) []byte { return post("/attest/combined", azureBody(numbered(i))) }},
		{"status", func(int) []byte { return []byte("GET /status HTTP/1.1\r\nHost: agent\r\n\r\n") }},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := &quickDevice{certs: table(b)}
			_, path := benchBroker(b, d)
			w := dialWire(b, path)
			w.do(c.body(-1)) // what is made once
			requests := make([][]byte, b.N)
			for i := range requests {
				requests[i] = c.body(i)
			}
			times := make([]time.Duration, 0, b.N)
			b.ReportAllocs()
			for b.Loop() {
				start := time.Now()
				w.do(requests[len(times)%len(requests)])
				times = append(times, time.Since(start))
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Nanoseconds())/1e3, "p50-µs")
			b.ReportMetric(float64(times[len(times)*99/100].Nanoseconds())/1e3, "p99-µs")
		})
	}
}

// BenchmarkStorm is a thousand equal requests of one container at the same time: the metric is how many of them the device saw.
func BenchmarkStorm(b *testing.B) {
	d := &quickDevice{certs: table(b)}
	_, path := benchBroker(b, d)
	conns := make([]*wire, 16)
	for i := range conns {
		conns[i] = dialWire(b, path)
	}
	before, storms := d.count(), 0
	for b.Loop() {
		request := post("/v1/evidence", nonceBody(numbered(storms)))
		storms++
		var wg sync.WaitGroup
		for i, w := range conns {
			wg.Go(func() {
				for range (1000 + len(conns) - 1 - i) / len(conns) {
					w.do(request)
				}
			})
		}
		wg.Wait()
	}
	b.ReportMetric(float64(d.count()-before)/float64(storms), "device-calls/op")
}

// BenchmarkNewConnection is the cost of a connection with the kernel's word about who connects, and one request.
func BenchmarkNewConnection(b *testing.B) {
	br, path := benchBroker(b, &quickDevice{})
	br.kernel = realKernel{cgroupRoot}
	br.mu.Lock()
	br.subjects["c1"].id.Cgroup = "/" // whatever this process is in
	br.mu.Unlock()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: dialer(b, path).http.Transport.(*http.Transport).DialContext}
	c := &client{b, &http.Client{Transport: transport}}
	for b.Loop() {
		if status, out := c.do("GET", "/status", ""); status != http.StatusOK {
			b.Fatalf("got status %d: %s", status, out)
		}
	}
}
