package coco

import "github.com/cloister-cc/cloister/snp"

// New writes a report by fields, with the certificates of the host's table. A table that does not parse is the host's doing and gives no chain: the report is as
// good without it.
func New(r *snp.Report, table []byte) (*Evidence, error) {
	t := tcbReader{line: lineOf(r)}
	out := &Evidence{Report: report{
		Version: r.Version, GuestSVN: r.GuestSVN, Policy: uint64(r.Policy), FamilyID: r.FamilyID, ImageID: r.ImageID,
		VMPL: r.VMPL, SignatureAlgo: r.SignatureAlgo, CurrentTCB: t.read(r.CurrentTCB), PlatformInfo: r.PlatformInfo,
		KeyInfo: uint32(r.KeyInfo), ReportData: r.ReportData, Measurement: r.Measurement, HostData: r.HostData,
		IDKeyDigest: r.IDKeyDigest, AuthorKeyDigest: r.AuthorDigest, ReportID: r.ReportID, ReportIDMA: r.ReportIDMA,
		ReportedTCB: t.read(r.ReportedTCB), ChipID: r.ChipID, CommittedTCB: t.read(r.CommittedTCB),
		Current: firmware(r.Current), Committed: firmware(r.Committed), LaunchTCB: t.read(r.LaunchTCB),
		Signature: signature{R: [72]byte(r.Signature[:72]), S: [72]byte(r.Signature[72:])},
	}}
	if t.err != nil {
		return nil, t.err
	}
	if r.Version >= 3 {
		out.Report.CPUFamily, out.Report.CPUModel, out.Report.CPUStepping = &r.CPU.Family, &r.CPU.Model, &r.CPU.Stepping
	}
	if r.Version >= 5 {
		out.Report.LaunchMit, out.Report.CurrentMit = &r.LaunchMit, &r.CurrentMit
	}
	certs, err := snp.ParseCerts(table)
	if err != nil {
		return out, nil
	}
	for _, c := range certs {
		out.Chain = append(out.Chain, cert{certType(c.GUID), c.Data})
	}
	return out, nil
}

// lineOf finds the layout of a report's TCB fields. Reports of version 2 do not name the processor; only lines with the older layout made
// them, as only that one is known where the processor is not.
func lineOf(r *snp.Report) snp.Line {
	line, err := snp.LineOf(r.CPU)
	if err != nil {
		return snp.Milan
	}
	return line
}

// tcbReader splits TCB fields by one layout and keeps the first error.
type tcbReader struct {
	line snp.Line
	err  error
}

func (t *tcbReader) read(v snp.TCB) tcb {
	p, err := v.Parts(t.line)
	if err != nil && t.err == nil {
		t.err = err
	}
	out := tcb{BootLoader: p.BootLoader, TEE: p.TEE, SNP: p.SNP, Microcode: p.Microcode}
	if t.line == snp.Turin {
		out.FMC = &p.FMC
	}
	return out
}
