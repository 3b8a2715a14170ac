package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/client"
	gverify "github.com/google/go-sev-guest/verify"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/snp"
)

// result is what a way came to; the test on the host has the same struct.
type result struct {
	Scenario, Way string
	Opened        string // what the device says of itself, or why it did not open
	Asks          []ask
	Keys          string // derived keys: "equal" by both clients, or why not
	Files         int    // descriptors left open
	Entries       int    // configfs entries left behind
}

// ask is one request for a report.
type ask struct {
	Error     string `json:",omitempty"`
	Kind      string `json:",omitempty"` // of the error
	Version   uint32 `json:",omitempty"`
	CPU       string `json:",omitempty"`
	VMPL      uint32 `json:",omitempty"`
	TCB       string `json:",omitempty"`
	Signer    uint32 `json:",omitempty"`
	HostData  string `json:",omitempty"`
	Table     string `json:",omitempty"` // SHA-256 of the certificate table, cut short
	Signature string `json:",omitempty"` // "good" under the key's certificate in the table, "bad", or why it cannot be told
}

var ways = []struct {
	name string
	run  func(ctx context.Context, asks int) result
}{
	{"ours ioctl", func(ctx context.Context, asks int) result {
		return ours(ctx, asks, snp.OpenOptions{TSMRoot: "/nonexistent"})
	}},
	{"ours configfs", func(ctx context.Context, asks int) result {
		return ours(ctx, asks, snp.OpenOptions{DevicePath: "/nonexistent"})
	}},
	{"go-sev-guest ioctl", func(_ context.Context, asks int) result { return theirs(asks, &client.LinuxIoctlQuoteProvider{}) }},
	{"go-sev-guest configfs", func(_ context.Context, asks int) result { return theirs(asks, &client.LinuxConfigFsQuoteProvider{}) }},
	{"keys", keys},
}

func nonce(i int) [64]byte { return [64]byte{0: 'n', 63: byte(i)} }

func ours(ctx context.Context, asks int, opts snp.OpenOptions) result {
	dev, err := snp.Open(ctx, opts)
	if err != nil {
		return result{Opened: kind(err) + ": " + err.Error()}
	}
	r := result{Opened: dev.String()}
	for i := range asks {
		ev, err := dev.Report(ctx, nonce(i))
		r.Asks = append(r.Asks, judge(ev, nonce(i), err))
	}
	if err := dev.Close(); err != nil {
		r.Opened = "close: " + err.Error()
	}
	return r
}

func theirs(asks int, p client.QuoteProvider) result {
	r := result{Opened: fmt.Sprintf("%T", p)}
	for i := range asks {
		raw, err := quote(p, nonce(i))
		var ev snp.Evidence
		if err == nil && len(raw) < abi.ReportSize {
			err = fmt.Errorf("got %d bytes", len(raw))
		}
		if err == nil {
			ev = snp.Evidence{Report: raw[:abi.ReportSize], Certs: raw[abi.ReportSize:]}
		}
		r.Asks = append(r.Asks, judge(ev, nonce(i), err))
	}
	return r
}

// errPanic is a client that a host's certificate table has brought down.
var errPanic = errors.New("panic")

func quote(p client.QuoteProvider, n [64]byte) (raw []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			raw, err = nil, fmt.Errorf("%w: %v", errPanic, v)
		}
	}()
	return p.GetRawQuote(n)
}

func kind(err error) string {
	for _, k := range []struct {
		name string
		err  error
	}{
		{"key lost", snp.ErrKeyLost},
		{"busy", snp.ErrBusy},
		{"level", snp.ErrLevel},
		{"no device", snp.ErrNoDevice},
		{"panic", errPanic},
		{"ENOTTY", unix.ENOTTY},
		{"EIO", unix.EIO},
		{"ETIMEDOUT", unix.ETIMEDOUT},
		{"ENXIO", unix.ENXIO},
	} {
		// go-configfs-tsm does not wrap what the kernel said.
		if errors.Is(err, k.err) || strings.HasSuffix(err.Error(), k.err.Error()) {
			return k.name
		}
	}
	return "other"
}

func judge(ev snp.Evidence, n [64]byte, err error) ask {
	if err != nil {
		return ask{Error: err.Error(), Kind: kind(err)}
	}
	r, err := snp.ParseReport(ev.Report)
	if err != nil {
		return ask{Error: err.Error(), Kind: "parse"}
	}
	if r.ReportData != n {
		return ask{Error: "the report carries another nonce", Kind: "nonce"}
	}
	a := ask{
		Version: r.Version, CPU: r.CPU.String(), VMPL: r.VMPL, TCB: hex.EncodeToString(r.ReportedTCB[:]), Signer: r.KeyInfo.Signer(),
		HostData: hex.EncodeToString(r.HostData[:4]), Signature: signature(ev),
	}
	if len(ev.Certs) > 0 {
		sum := sha256.Sum256(ev.Certs)
		a.Table = hex.EncodeToString(sum[:8])
	}
	return a
}

// signature checks with go-sev-guest's smallest primitive.
func signature(ev snp.Evidence) string {
	certs, err := snp.ParseCerts(ev.Certs)
	if err != nil {
		return "table refused"
	}
	for _, c := range certs {
		if c.GUID != snp.GUIDVCEK && c.GUID != snp.GUIDVLEK {
			continue
		}
		leaf, err := x509.ParseCertificate(c.Data)
		if err != nil {
			return "certificate refused"
		}
		if err := gverify.SnpReportSignature(ev.Report, leaf); err != nil {
			return "bad"
		}
		return "good"
	}
	return "no certificate"
}
