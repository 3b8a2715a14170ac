package attest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/json"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cloister-cc/cloister/snp"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(helperEnv); role != "" {
		os.Exit(helper(role))
	}
	goleak.VerifyTestMain(m)
}

// fakeKernel says of every peer what it is told to. Its zero value finds each peer where it should be.
type fakeKernel struct {
	unix func(*net.UnixConn) (string, error)
	tcp  func(*net.TCPConn) (uint64, error)
	ids  map[string]uint64 // of control groups
}

func (k fakeKernel) unixPeer(c *net.UnixConn) (string, error) {
	if k.unix == nil {
		return "/cloister/c1", nil
	}
	return k.unix(c)
}

func (k fakeKernel) tcpPeer(c *net.TCPConn, mayAsk func(uint64) bool) (uint64, error) {
	id, err := k.tcp(c)
	if err == nil && !mayAsk(id) {
		return 0, errTooOften
	}
	return id, err
}

func (k fakeKernel) cgroupID(path string) (uint64, error) {
	id, ok := k.ids[path]
	if !ok {
		return 0, fs.ErrNotExist
	}
	return id, nil
}

// newBroker is a broker that asks no kernel: containers of every key have the control group of c1.
func newBroker(d Reporter, opt Options) *Broker {
	b := New(d, opt)
	b.kernel = fakeKernel{}
	return b
}

// container is the identity of a test container.
func container(key string) Identity { return Identity{Key: key, Cgroup: "/cloister/c1"} }

// tcb is the version the fake firmware runs: boot loader 10, TEE 1, SNP 23, microcode 84.
var tcb = snp.TCBParts{BootLoader: 10, TEE: 1, SNP: 23, Microcode: 84}

// fakeDevice answers reports of a version over the data asked for, and counts what a broker must not do to a real one.
type fakeDevice struct {
	version   uint32
	certs     []byte
	mu        sync.Mutex
	asked     [][64]byte
	busy      atomic.Int32
	overlaps  atomic.Int32
	entered   chan struct{} // when set, told of each call
	wait      chan struct{} // when set, a call waits for a value or its context
	err       error
	panicWith any
	size      int
	then      func() // called once a report was made
}

func (d *fakeDevice) Report(ctx context.Context, data [64]byte) (snp.Evidence, error) {
	if d.busy.Add(1) > 1 {
		d.overlaps.Add(1)
	}
	defer d.busy.Add(-1)
	d.mu.Lock()
	d.asked = append(d.asked, data)
	d.mu.Unlock()
	if d.entered != nil {
		d.entered <- struct{}{}
	}
	if d.wait != nil {
		select {
		case <-d.wait:
		case <-ctx.Done():
			return snp.Evidence{}, ctx.Err()
		}
	}
	if d.panicWith != nil {
		panic(d.panicWith)
	}
	if d.err != nil {
		return snp.Evidence{}, d.err
	}
	ev := snp.Evidence{Report: reportOf(max(d.version, 2), data)[:snp.ReportSize-d.size], Certs: d.certs}
	if d.then != nil {
		d.then()
	}
	return ev, nil
}

func (d *fakeDevice) calls() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.asked)
}

// reportOf is an unsigned report with each field told apart.
func reportOf(version uint32, data [64]byte) []byte {
	b := make([]byte, snp.ReportSize)
	le := binary.LittleEndian
	le.PutUint32(b, version)
	le.PutUint64(b[0x08:], uint64(snp.PolicySMT|snp.PolicyReservedOne))
	le.PutUint32(b[0x34:], 1)
	line := snp.Genoa
	if version >= 3 {
		b[0x188], b[0x189], b[0x18A] = 0x19, 0x11, 1
	}
	if version == 5 {
		line = snp.Turin
		b[0x188], b[0x189] = 0x1A, 0x02
		le.PutUint64(b[0x1F8:], 7)
	}
	for _, at := range []int{0x38, 0x180, 0x1E0, 0x1F0} {
		t := tcb.Bytes(line)
		copy(b[at:], t[:])
	}
	copy(b[0x50:], data[:])
	b[0x90], b[0xC0] = 0x4D, 0x48
	b[0x1E8], b[0x1E9], b[0x1EA] = 39, 55, 1
	b[snp.SignedSize], b[snp.SignedSize+72] = 0x52, 0x53
	return b
}

var tableOnce = sync.OnceValues(func() ([]byte, error) { return makeTable(tcb) })

// table is a host's table whose VCEK was issued for the fake firmware's version.
func table(t testing.TB) []byte {
	t.Helper()
	b, err := tableOnce()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func makeTable(p snp.TCBParts) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test VCEK"}, NotAfter: time.Unix(1<<33, 0)}
	for n, v := range map[int]uint8{1: p.BootLoader, 2: p.TEE, 3: p.SNP, 8: p.Microcode} {
		value, err := asn1.Marshal(int(v))
		if err != nil {
			return nil, err
		}
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: append(append(asn1.ObjectIdentifier{}, tcbArc...), n), Value: value})
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return snp.MarshalCerts([]snp.Cert{
		{GUID: snp.GUIDARK, Data: []byte("the root")},
		{GUID: snp.GUID{1, 2, 3}, Data: []byte{9}},
		{GUID: snp.GUIDVCEK, Data: der},
		{GUID: snp.GUIDASK, Data: []byte("the intermediate")},
	}), nil
}

// client speaks HTTP to one container's socket.
type client struct {
	t    testing.TB
	http *http.Client
}

// open starts a broker with one container and returns a client of it.
func open(t testing.TB, d *fakeDevice, opt Options) (*Broker, *client) {
	t.Helper()
	b := newBroker(d, opt)
	t.Cleanup(b.Close)
	return b, listen(t, b, "c1")
}

func listen(t testing.TB, b *Broker, key string) *client {
	t.Helper()
	path, _, err := b.Listen(t.Context(), container(key), filepath.Join(t.TempDir(), "attest"))
	if err != nil {
		t.Fatal(err)
	}
	return dialer(t, path)
}

func dialer(t testing.TB, path string) *client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t, &http.Client{Transport: transport, Timeout: 30 * time.Second}}
}

// do sends a request and returns the status and the body.
func (c *client) do(method, path, body string) (int, []byte) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, "http://agent"+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		c.t.Error(err)
		return 0, nil
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Error(err)
	}
	if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
		c.t.Errorf("%s %s: got content type %q, want JSON", method, path, got)
	}
	return resp.StatusCode, out
}

// ok wants status 200 and decodes the answer.
func (c *client) ok(method, path, body string, into any) {
	c.t.Helper()
	status, out := c.do(method, path, body)
	if status != http.StatusOK {
		c.t.Errorf("%s %s: got status %d: %s", method, path, status, out)
		return
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		c.t.Errorf("%s %s: %v in %s", method, path, err, out)
	}
}

// refused wants a status and one JSON document {"error": "..."} with the text in it.
func (c *client) refused(method, path, body string, status int, text string) {
	c.t.Helper()
	got, out := c.do(method, path, body)
	var doc map[string]string
	if err := json.Unmarshal(out, &doc); err != nil || len(doc) != 1 {
		c.t.Errorf("%s %s: got %q, want one error document", method, path, out)
	}
	if got != status || !strings.Contains(doc["error"], text) {
		c.t.Errorf("%s %s: got status %d, %q, want %d with %q", method, path, got, doc["error"], status, text)
	}
}

// quickDevice answers at once, and remembers nothing but how often it was asked.
type quickDevice struct {
	certs []byte
	n     atomic.Int64
}

func (d *quickDevice) Report(_ context.Context, data [64]byte) (snp.Evidence, error) {
	d.n.Add(1)
	return snp.Evidence{Report: reportOf(3, data), Certs: d.certs}, nil
}

func (d *quickDevice) count() int64 { return d.n.Load() }
