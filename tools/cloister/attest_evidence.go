package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/evidence"
	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/identity"
	"github.com/cloister-cc/cloister/snp/verify"
)

// judged is what came of one verification.
type judged struct {
	verdict *verify.Verdict
	format  verify.Format
	// policy and preimage are there if the evidence has an identity and a policy; both are bound by the report.
	policy   *evidence.Policy
	preimage *identity.Preimage
	eventLog []byte   // replayed to the head that the preimage holds, if there is an identity
	notes    []string // what a reader of the verdict should know besides
	next     []string // what to do about what failed
}

// input is what the command line names, read; nothing of it is judged.
type input struct {
	evidence    []byte
	more        verify.Evidence // of --certs, --crl, --endorsement
	policy      []byte          // --policy
	initdata    []byte          // --initdata
	runtimeData []byte          // --runtime-data
}

// read reads every file. Those that the user vouches for have to be of their form; what the evidence is, is for the verdict to say.
func (a *attestVerify) read(cmd *cobra.Command) (in input, err error) {
	names := slices.Concat([]string{a.file, a.policy, a.initdata, a.runtimeData, a.endorsement}, a.certs, a.crls)
	if err := oneStdin(cmd, names...); err != nil {
		return in, asVerifyUsage(cmd, err)
	}
	if in.evidence, err = readInput(a.file, cmd.InOrStdin(), verify.MaxFile); err != nil {
		return in, unreadable(err)
	}
	for _, name := range slices.Concat(a.certs, a.crls) {
		b, err := readInput(name, cmd.InOrStdin(), verify.MaxForeign)
		if err != nil {
			return in, unreadable(err)
		}
		f, err := verify.ReadCertificates(b)
		if err == nil {
			err = in.more.Merge(f.Evidence)
		}
		if err != nil {
			return in, unreadable(fmt.Errorf("%q: %s", name, printable(err.Error()))) // the file's words may be in it
		}
	}
	for _, m := range []struct {
		name string
		to   *[]byte
	}{{a.policy, &in.policy}, {a.initdata, &in.initdata}, {a.runtimeData, &in.runtimeData}, {a.endorsement, &in.more.Endorsement}} {
		if m.name == "" {
			continue
		}
		if *m.to, err = readInput(m.name, cmd.InOrStdin(), verify.MaxFile); err != nil {
			return in, unreadable(err)
		}
	}
	if text, ok := base64Policy(in.policy); ok {
		in.policy = text
	}
	in.more.Endorsement = plainCOSE(in.more.Endorsement)
	return in, nil
}

// plainCOSE decodes an endorsement that lies in base64, as in a guest's security context directory. No COSE message looks like that.
func plainCOSE(raw []byte) []byte {
	if text, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(raw))); err == nil && len(text) > 0 {
		return text
	}
	return raw
}

// judge comes to a verdict. A file that is no evidence is refused, not a wrong usage: it came from the host.
func (a *attestVerify) judge(in input, verifier *verify.Verifier, exp verify.Expectations) (*judged, error) {
	f, err := verify.ReadEvidence(in.evidence)
	if err != nil {
		return &judged{verdict: verify.Refuse(err.Error(), "evidence")}, nil
	}
	out := &judged{format: f.Format, eventLog: f.Evidence.EventLog}
	ev := f.Evidence
	if err := ev.Merge(in.more); err != nil {
		return nil, unreadable(err)
	}
	if in.more.Endorsement != nil {
		ev.Endorsement = in.more.Endorsement
	}
	if err := a.bindData(&exp, f, in, out); err != nil {
		return nil, err
	}
	bad, err := a.bindPolicy(&exp, &ev, f, in)
	if err != nil {
		return nil, err
	}
	if err := a.bindIdentity(&exp, &ev, a.policyReader(f), out); err != nil {
		return nil, err
	}
	if out.verdict, err = a.image.verify(verifier, ev, exp); err != nil {
		return nil, err
	}
	if bad != nil {
		refute(out.verdict, "host_data", bad.want, bad.got)
	}
	if own := a.ownWord(f, in, out); own != nil {
		refute(out.verdict, "host_data", own.want, own.got)
	}
	contradictions(f, out.verdict)
	a.remark(out, &ev)
	if out.verdict.Identity == "" {
		out.policy, out.preimage = nil, nil
	}
	return out, nil
}

// bindData settles what REPORT_DATA has to be.
func (a *attestVerify) bindData(exp *verify.Expectations, f *verify.File, in input, out *judged) error {
	rule := a.data
	if len(rule) == hexReportData {
		exp.ReportData = new([64]byte)
		if err := parseHex("report-data", rule, exp.ReportData[:]); err != nil {
			return err
		}
		if rule = string(reportDataSHA256); a.runtimeData != "" {
			return fmt.Errorf("attest verify: want one of --report-data HEX and --runtime-data")
		}
	} else if _, err := reportData(rule).of(nil); err != nil {
		return err
	}
	switch {
	case a.runtimeData != "":
		data, err := runtimeReportData(reportData(rule), in.runtimeData)
		if err != nil {
			return err
		}
		exp.ReportData = &data
	case a.nonce != "":
		nonce, err := parseNonce(a.nonce)
		if err != nil {
			return err
		}
		if len(f.Evidence.Preimage) > 0 && !a.asked("report-data") || exp.ReportData != nil {
			exp.Nonce = nonce // in the preimage, which REPORT_DATA is the hash of
			return nil
		}
		data, err := reportData(rule).of(nonce)
		if err != nil {
			return err
		}
		exp.ReportData = &data
	case exp.ReportData == nil && f.Format == verify.FormatMAA:
		data := snp.HashedReportData(f.RuntimeData)
		exp.ReportData = &data
		out.notes = append(out.notes, "report_data was held against the request's own runtimeData: whether that is what you want, is for you to see")
	}
	return nil
}

const hexReportData = 128

// maxRawData is the most that CoCo puts into REPORT_DATA as it is; the rest is zero, so that nobody can make what looks like a SHA-512.
const maxRawData = 48

// runtimeReportData is REPORT_DATA over the file of --runtime-data.
func runtimeReportData(rule reportData, data []byte) (out [64]byte, err error) {
	switch {
	case rule == reportDataHost:
		return out, errors.New("attest verify: --report-data host is of a nonce (--nonce), not of --runtime-data")
	case rule == reportDataRaw && (len(data) == 0 || len(data) > maxRawData):
		return out, fmt.Errorf("--runtime-data: got %d bytes, want 1 to %d with --report-data raw", len(data), maxRawData)
	}
	return rule.of(data)
}

// bindIdentity lets the policy be asked about a preimage, and --entry. The verifier asks once the report proved genuine; nothing of the sender's text is read before.
func (a *attestVerify) bindIdentity(exp *verify.Expectations, ev *verify.Evidence, read policyReader, out *judged) error {
	exp.RequireIdentity = len(a.entries) > 0
	switch {
	case len(ev.Policy) == 0 && len(a.entries) > 0:
		return errors.New("attest verify: --entry needs the policy, and the evidence brings none that counts: give --policy or --initdata")
	case len(ev.Policy) == 0:
		return nil
	}
	policy := func(text []byte) (_ *evidence.Policy, err error) {
		if out.policy == nil {
			out.policy, err = read(text)
		}
		return out.policy, err
	}
	exp.ContainerIdentity = func(text []byte) bool {
		p, err := policy(text)
		if err != nil {
			return false
		}
		id, _ := p.Identity()
		return id == verify.IdentityContainer
	}
	exp.PolicyEntries = func(text []byte, p *identity.Preimage) error {
		if _, err := policy(text); err != nil {
			return err
		}
		out.preimage = p
		if err := out.policy.CheckEntries(p); err != nil {
			return err
		}
		return a.entryWanted(out.policy, p)
	}
	return nil
}

// entryWanted holds what the container can be against --entry: each entry that is left must be wanted, for nobody knows which of them it is.
func (a *attestVerify) entryWanted(policy *evidence.Policy, p *identity.Preimage) error {
	switch {
	case len(a.entries) == 0:
		return nil
	case len(p.Entries) == 0:
		return fmt.Errorf("the evidence names no entry, want %q", a.entries)
	}
	for _, e := range p.Entries {
		var names []string // of a fragment's entry none: --entry speaks of the policy's own text
		if name, id, ok := policy.Entry(e); ok {
			names = []string{strconv.FormatUint(uint64(e.Index), 10), name, id}
		}
		if !slices.ContainsFunc(a.entries, func(want string) bool { return want != "" && slices.Contains(names, want) }) {
			return fmt.Errorf("the container may be %s, want %q only", policy.Names(&identity.Preimage{Entries: []identity.Entry{e}})[0], a.entries)
		}
	}
	return nil
}

// contradictions are what a request says of itself that its report does not bear out.
func contradictions(f *verify.File, v *verify.Verdict) {
	r, err := snp.DecodeReport(f.Evidence.Report)
	if err != nil || f.Format != verify.FormatMAA {
		return
	}
	if want := snp.HashedReportData(f.RuntimeData); want != r.ReportData {
		refute(v, "report_data", fmt.Sprintf("%x, for the request's runtimeData", want), fmt.Sprintf("%x", r.ReportData))
	}
	if f.InitTimeData == nil {
		return
	}
	if want := snp.HashedReportData(f.InitTimeData); [32]byte(want[:32]) != r.HostData {
		refute(v, "host_data", fmt.Sprintf("%x, for the request's initTimeData", want[:32]), fmt.Sprintf("%x", r.HostData))
	}
}

// refute turns a row into a failure that the verifier could not know of. A row that failed already keeps its reason.
func refute(v *verify.Verdict, name, want, got string) {
	for i := range v.Checks {
		if c := &v.Checks[i]; c.Name == name && c.Status != verify.StatusFail {
			c.Status, c.Want, c.Got = verify.StatusFail, want, got
		}
	}
	v.OK, v.Identity = false, ""
}
