package verify

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/cloister-cc/cloister/snp"
)

// Format is a shape that evidence or certificates come in.
type Format string

// The shapes. Files are told apart by their content, never by their name.
const (
	FormatBundle       Format = "cloister bundle"
	FormatCombined     Format = "/attest/combined answer"
	FormatRawAnswer    Format = "/attest/raw answer"
	FormatMAA          Format = "MAA SEV-SNP attestation request"
	FormatCoCo         Format = "CoCo evidence"
	FormatReport       Format = "report"
	FormatReportTable  Format = "report with certificate table"
	FormatReportHex    Format = "report in hex"
	FormatReportBase64 Format = "report in base64"

	FormatTHIM  Format = "THIM certification"
	FormatPEM   Format = "PEM certificates"
	FormatDER   Format = "DER certificate"
	FormatCRL   Format = "DER revocation list"
	FormatTable Format = "certificate table"
)

// Bounds of files, before anything of them is decoded.
const (
	// MaxFile bounds a file of evidence: only a bundle, which may hold 64 MiB of initdata, is larger than MaxForeign.
	MaxFile = 96 << 20
	// MaxForeign bounds the other shapes, and files of certificates.
	MaxForeign = 8 << 20
)

// File is a file of evidence or certificates, read and not judged: all that it says is the word of whoever sent it.
type File struct {
	Format   Format
	Evidence Evidence

	// Carrier and Initdata are a bundle's; Carrier says what HOST_DATA is the hash of.
	Carrier  string
	Initdata []byte
	// RuntimeData and InitTimeData are an MAA request's: REPORT_DATA begins with the SHA-256 of the one, HOST_DATA is that of the other, which
	// is nil if there is none, and not nil if it is empty.
	RuntimeData, InitTimeData []byte
	// ClaimedTCB is what a /attest/combined answer or a THIM document says that the certificate was issued for, nil if it says nothing. The verdict goes by
	// the certificate itself.
	ClaimedTCB *snp.TCB
}

// ReadEvidence reads evidence in any of the shapes that hold a report.
func ReadEvidence(data []byte) (*File, error) {
	if len(data) > MaxFile {
		return nil, fmt.Errorf("read evidence: got %d bytes, want at most %d", len(data), MaxFile)
	}
	f, err := readEvidence(data)
	if err != nil {
		return nil, fmt.Errorf("read evidence: %w", err)
	}
	return f, nil
}

func readEvidence(data []byte) (*File, error) {
	if isJSON(data) {
		return readDocument(data)
	}
	if len(data) > MaxForeign {
		return nil, fmt.Errorf("got %d bytes, want at most %d of anything but a bundle", len(data), MaxForeign)
	}
	return readReport(data)
}

// errNoEvidence names what would have been read, for whoever gave another file.
var errNoEvidence = errors.New("not evidence of a known shape: want a cloister bundle, an /attest/combined or /attest/raw answer, an MAA request, " +
	"CoCo evidence, or a report of 1184 bytes (binary, hex or base64)")

// readReport reads a bare report. The three spellings have different lengths, so none can be taken for another.
func readReport(data []byte) (*File, error) {
	if len(data) == snp.ReportSize {
		return &File{Format: FormatReport, Evidence: Evidence{Report: data}}, nil
	}
	text := squeeze(data)
	switch len(text) {
	case hex.EncodedLen(snp.ReportSize):
		raw := make([]byte, snp.ReportSize)
		if _, err := hex.Decode(raw, text); err == nil {
			return &File{Format: FormatReportHex, Evidence: Evidence{Report: raw}}, nil
		}
	case base64.StdEncoding.EncodedLen(snp.ReportSize), base64.RawStdEncoding.EncodedLen(snp.ReportSize):
		if raw, err := decodeBase64(text); err == nil && len(raw) == snp.ReportSize {
			return &File{Format: FormatReportBase64, Evidence: Evidence{Report: raw}}, nil
		}
	}
	// Clients of the extended report write the table behind the report.
	if len(data) > snp.ReportSize && binary.LittleEndian.Uint32(data) <= maxReportVersion {
		report, table := data[:snp.ReportSize], data[snp.ReportSize:]
		if _, err := snp.ParseCerts(table); err != nil {
			return nil, fmt.Errorf("%s: %w", FormatReportTable, err)
		}
		return &File{Format: FormatReportTable, Evidence: Evidence{Report: report, Table: table}}, nil
	}
	return nil, errNoEvidence
}

// maxReportVersion is the newest report format; later ones would not begin with a small number by chance either.
const maxReportVersion = 5

// isJSON says that data begins as a JSON object does. No report does: its first byte is its version.
func isJSON(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(data[:min(len(data), 64)], " \t\r\n"), []byte("{"))
}

// squeeze drops white space, which tools put into and behind long texts.
func squeeze(data []byte) []byte {
	return bytes.Join(bytes.Fields(data), nil)
}

// decodeBase64 takes either alphabet, with padding or without: the shapes read here differ in it. What is decoded has to parse and verify anyway, so a second
// spelling of the same bytes gains nothing.
func decodeBase64(text []byte) ([]byte, error) {
	text = bytes.TrimRight(text, "=")
	alphabet := base64.RawStdEncoding
	if bytes.ContainsAny(text, "-_") {
		alphabet = base64.RawURLEncoding
	}
	out := make([]byte, alphabet.DecodedLen(len(text)))
	n, err := alphabet.Strict().Decode(out, text)
	if err != nil {
		return nil, err
	}
	return out[:n:n], nil
}

// Merge adds certificates and revocation lists that came in a file of their own. Of a second certificate table the known kinds are taken: its other blobs
// mean nothing here.
func (e *Evidence) Merge(more Evidence) error {
	e.Certs = append(e.Certs, more.Certs...)
	e.CRLs = append(e.CRLs, more.CRLs...)
	switch {
	case len(more.Table) == 0:
		return nil
	case len(e.Table) == 0:
		e.Table = more.Table
		return nil
	}
	certs, err := snp.ParseCerts(more.Table)
	if err != nil {
		return err
	}
	for _, c := range certs {
		switch c.GUID {
		case snp.GUIDVCEK, snp.GUIDVLEK, snp.GUIDASK, snp.GUIDARK:
			e.Certs = append(e.Certs, c.Data)
		case snp.GUIDCRL:
			e.CRLs = append(e.CRLs, c.Data)
		}
	}
	return nil
}
