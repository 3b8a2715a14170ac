package coco

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	kjson "sigs.k8s.io/json"

	"github.com/cloister-cc/cloister/snp"
)

// MaxSize bounds a document before it is decoded: a report, and a table of 32 KiB written as numbers, with blanks between.
const MaxSize = 1 << 20

// Parse turns a document into the report's bytes and the host's certificate table. The report has parsed and is not verified; the table is as the host's table
// was but for padding, or nil if the document has no certificates.
func Parse(doc []byte) (raw, table []byte, err error) {
	if len(doc) > MaxSize {
		return nil, nil, fmt.Errorf("parse CoCo evidence: got %d bytes, want at most %d", len(doc), MaxSize)
	}
	raw, table, err = parse(doc)
	if err != nil {
		return nil, nil, fmt.Errorf("parse CoCo evidence: %.300s", err) // the sender's words are in it
	}
	return raw, table, nil
}

func parse(doc []byte) (raw, table []byte, err error) {
	var ev Evidence
	strict, err := kjson.UnmarshalStrict(doc, &ev)
	if err == nil && len(strict) > 0 {
		err = strict[0]
	}
	if err != nil {
		return nil, nil, err
	}
	raw = ev.Report.bytes()
	var certs []snp.Cert
	for _, c := range ev.Chain {
		certs = append(certs, snp.Cert{GUID: snp.GUID(c.Type), Data: c.Data})
	}
	table = snp.MarshalCerts(certs)
	r, err := snp.ParseReport(raw)
	if err != nil {
		return nil, nil, err
	}
	if err := roundTrip(doc, r, table); err != nil {
		return nil, nil, err
	}
	return raw, table, nil
}

// roundTrip writes the report again and compares values, not bytes: order of members and blanks are the writer's. The decoder cuts and pads
// arrays, and takes null and nothing for zero; here each of these shows.
func roundTrip(doc []byte, r *snp.Report, table []byte) error {
	if _, err := snp.ParseCerts(table); err != nil {
		return err
	}
	ev, err := New(r, table)
	if err != nil {
		return err
	}
	again, err := json.Marshal(ev)
	if err != nil {
		return err
	}
	got, err := generic(doc)
	if err != nil {
		return err
	}
	want, err := generic(again)
	if err != nil {
		return err
	}
	if path := difference("", got, want); path != "" {
		return fmt.Errorf("%s: not what a report of version %d has there", strings.TrimPrefix(path, "."), r.Version)
	}
	return nil
}

func generic(doc []byte) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	err = dec.Decode(&v)
	return v, err
}

// difference names the first member in which two documents differ, or is empty.
func difference(path string, got, want any) string {
	g, ok1 := got.(map[string]any)
	w, ok2 := want.(map[string]any)
	if !ok1 || !ok2 {
		if reflect.DeepEqual(got, want) {
			return ""
		}
		return path
	}
	worst := ""
	for name, wv := range w {
		gv, ok := g[name]
		at := path + "." + name
		if ok {
			at = difference(at, gv, wv)
		}
		if at != "" && (worst == "" || at < worst) {
			worst = at
		}
	}
	return worst // the decoder has refused what is in got alone
}

// bytes lays the fields out as the firmware does. The signed part ends before the signature; bytes that no field covers are zero in every version known.
func (r *report) bytes() []byte {
	b := make([]byte, snp.ReportSize)
	le := binary.LittleEndian
	le.PutUint32(b[0x000:], r.Version)
	le.PutUint32(b[0x004:], r.GuestSVN)
	le.PutUint64(b[0x008:], r.Policy)
	copy(b[0x010:], r.FamilyID[:])
	copy(b[0x020:], r.ImageID[:])
	le.PutUint32(b[0x030:], r.VMPL)
	le.PutUint32(b[0x034:], r.SignatureAlgo)
	r.CurrentTCB.put(b[0x038:])
	le.PutUint64(b[0x040:], r.PlatformInfo)
	le.PutUint32(b[0x048:], r.KeyInfo)
	copy(b[0x050:], r.ReportData[:])
	copy(b[0x090:], r.Measurement[:])
	copy(b[0x0C0:], r.HostData[:])
	copy(b[0x0E0:], r.IDKeyDigest[:])
	copy(b[0x110:], r.AuthorKeyDigest[:])
	copy(b[0x140:], r.ReportID[:])
	copy(b[0x160:], r.ReportIDMA[:])
	r.ReportedTCB.put(b[0x180:])
	for i, v := range []*uint8{r.CPUFamily, r.CPUModel, r.CPUStepping} {
		if v != nil {
			b[0x188+i] = *v
		}
	}
	copy(b[0x1A0:], r.ChipID[:])
	r.CommittedTCB.put(b[0x1E0:])
	copy(b[0x1E8:], []byte{r.Current.Build, r.Current.Minor, r.Current.Major})
	copy(b[0x1EC:], []byte{r.Committed.Build, r.Committed.Minor, r.Committed.Major})
	r.LaunchTCB.put(b[0x1F0:])
	for i, v := range []*uint64{r.LaunchMit, r.CurrentMit} {
		if v != nil {
			le.PutUint64(b[0x1F8+8*i:], *v)
		}
	}
	copy(b[snp.SignedSize:], r.Signature.R[:])
	copy(b[snp.SignedSize+72:], r.Signature.S[:])
	return b
}

// put writes a TCB in the layout that its form says: only Turin's has an FMC version.
func (t *tcb) put(to []byte) {
	p, line := snp.TCBParts{BootLoader: t.BootLoader, TEE: t.TEE, SNP: t.SNP, Microcode: t.Microcode}, snp.Milan
	if t.FMC != nil {
		p.FMC, line = *t.FMC, snp.Turin
	}
	v := p.Bytes(line)
	copy(to, v[:])
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *certType) UnmarshalJSON(doc []byte) error {
	if doc[0] != '{' {
		var name string
		if err := json.Unmarshal(doc, &name); err != nil {
			return err
		}
		for guid, n := range certNames {
			if n == name {
				*t = certType(guid)
				return nil
			}
		}
		return fmt.Errorf("got certificate type %.32q, want VCEK, VLEK, ASK, ARK, CRL or OTHER", name)
	}
	var other otherCert
	strict, err := kjson.UnmarshalStrict(doc, &other)
	if err == nil && len(strict) > 0 {
		err = strict[0]
	}
	if err != nil {
		return err
	}
	b, err := hex.DecodeString(strings.ReplaceAll(other.GUID, "-", ""))
	if err != nil || len(b) != len(t) {
		return fmt.Errorf("got certificate type %.64q, want a GUID", other.GUID)
	}
	copy(t[:], b)
	return nil
}

// UnmarshalJSON implements json.Unmarshaler: an array of numbers 0 to 255. The library would take a string for base64, and null for zero.
func (n *numbers) UnmarshalJSON(doc []byte) error {
	inner, ok := bytes.CutPrefix(doc, []byte("["))
	inner, ok2 := bytes.CutSuffix(inner, []byte("]"))
	if !ok || !ok2 {
		return errors.New("want an array of numbers")
	}
	*n = (*n)[:0]
	if len(bytes.TrimSpace(inner)) == 0 {
		return nil
	}
	for item := range bytes.SplitSeq(inner, []byte(",")) {
		v, err := strconv.ParseUint(string(bytes.TrimSpace(item)), 10, 8)
		if err != nil {
			return fmt.Errorf("array of bytes: got %.32q, want a number from 0 to 255", item)
		}
		*n = append(*n, byte(v))
	}
	return nil
}
