package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/cloister-cc/cloister/snp"
)

// maxReply bounds an answer; a report with its chain is some 10 KB.
const maxReply = 1 << 20

// combinedReply and rawReply are the shapes of the two calls.
type combinedReply struct {
	Evidence     string `json:"evidence"`     // base64 of the report
	Endorsements string `json:"endorsements"` // base64 of PEM: signing key, ASK, ARK
}

type rawReply struct {
	Report string `json:"report"` // hex
}

// errNoCall says that the agent does not have a call.
var errNoCall = errors.New("the agent does not have this call")

// fetch asks for report and certificates, and for the report alone where no certificates are to be had.
func fetch(ctx context.Context, socket string, nonce []byte) (snp.Evidence, error) {
	path, err := findSocket(socket)
	if err != nil {
		return snp.Evidence{}, err
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true,
	}}
	var combined combinedReply
	err = post(ctx, client, "/attest/combined", nonce, &combined)
	if err == nil {
		return combined.evidence()
	}
	if !errors.Is(err, errNoCall) {
		return snp.Evidence{}, err
	}
	var raw rawReply
	if err := post(ctx, client, "/attest/raw", nonce, &raw); err != nil {
		return snp.Evidence{}, err
	}
	report, err := hex.DecodeString(raw.Report)
	if err != nil {
		return snp.Evidence{}, fmt.Errorf("/attest/raw: report is not hex")
	}
	return snp.Evidence{Report: report}, nil
}

// findSocket takes the socket itself, or the only one in a directory.
func findSocket(name string) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", fmt.Errorf("find the agent's socket: %w (does the policy grant it?)", err)
	}
	if !info.IsDir() {
		return name, nil
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.Type() == fs.ModeSocket {
			return filepath.Join(name, e.Name()), nil
		}
	}
	return "", fmt.Errorf("find the agent's socket: %q holds none", name)
}

func post(ctx context.Context, client *http.Client, path string, nonce []byte, into any) error {
	body, err := json.Marshal(map[string]string{"runtime_data": base64.StdEncoding.EncodeToString(nonce)})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(response.Body, maxReply))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusNotImplemented:
		return errNoCall
	default:
		return fmt.Errorf("%s: status %d: %.256s", path, response.StatusCode, bytes.TrimSpace(reply))
	}
	if err := json.Unmarshal(reply, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// evidence rebuilds the certificate table from the PEM chain, which has the signing key's certificate first.
func (c combinedReply) evidence() (snp.Evidence, error) {
	report, err := base64.StdEncoding.DecodeString(c.Evidence)
	if err != nil {
		return snp.Evidence{}, fmt.Errorf("/attest/combined: evidence: %w", err)
	}
	rest, err := base64.StdEncoding.DecodeString(c.Endorsements)
	if err != nil {
		return snp.Evidence{}, fmt.Errorf("/attest/combined: endorsements: %w", err)
	}
	kinds := []snp.GUID{snp.GUIDVCEK, snp.GUIDASK, snp.GUIDARK}
	if parsed, err := snp.ParseReport(report); err == nil && parsed.KeyInfo.Signer() == snp.SignerVLEK {
		kinds[0] = snp.GUIDVLEK
	}
	var certs []snp.Cert
	for _, kind := range kinds {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		certs = append(certs, snp.Cert{GUID: kind, Data: block.Bytes})
	}
	return snp.Evidence{Report: report, Certs: snp.MarshalCerts(certs)}, nil
}

// checkNonce finds out early that the report is about something else; the verifier checks it again.
func checkNonce(report *snp.Report, nonce []byte) error {
	digest := sha256.Sum256(nonce)
	var want [64]byte
	copy(want[:], digest[:])
	if report.ReportData != want {
		return fmt.Errorf("report data is %x, want the nonce's SHA-256 and zeros", report.ReportData)
	}
	return nil
}
