package verify_test

import (
	"crypto/x509"
	"encoding/binary"
	"slices"
	"time"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

// put makes an edit that writes a little-endian number.
func put[N uint8 | uint32 | uint64](offset int, n N) func([]byte) {
	return func(b []byte) {
		if _, err := binary.Encode(b[offset:], binary.LittleEndian, n); err != nil {
			panic(err)
		}
	}
}

// mutant is good evidence with one thing wrong, which exactly the named check must find.
type mutant struct {
	check string
	name  string // where a check has several
	// evidence makes the bad evidence; nil is the good one.
	evidence func(*sample) verify.Evidence
	expect   func(*sample, *verify.Expectations)
	// impossible says why there is no such thing on a machine.
	impossible func(machine) string
}

// edit is a mutant whose report was edited and signed.
func edit(check string, f func([]byte)) mutant {
	return mutant{check: check, evidence: func(s *sample) verify.Evidence { return s.signed(f) }}
}

// expect is a mutant of the expectations.
func expect(check string, f func(*verify.Expectations)) mutant {
	return mutant{check: check, expect: func(_ *sample, e *verify.Expectations) { f(e) }}
}

func setBit(offset int, bit uint) func([]byte) {
	return func(b []byte) { b[offset+int(bit/8)] |= 1 << (bit % 8) }
}

func reissue(check string, f func(s *sample, c *x509.Certificate)) mutant {
	return mutant{check: check, evidence: func(s *sample) verify.Evidence {
		return s.with(s.reissued(s.issuer(), func(c *x509.Certificate) { f(s, c) }))
	}}
}

func withCRL(check string, crl func(*sample) []byte) mutant {
	return mutant{check: check, evidence: func(s *sample) verify.Evidence {
		ev := s.evidence()
		ev.CRLs = [][]byte{crl(s)}
		return ev
	}}
}

func (m mutant) named(name string) mutant { m.name = name; return m }

func (m mutant) except(why func(machine) string) mutant { m.impossible = why; return m }

func vlekNamesNoChip(m machine) string {
	if m.vlek {
		return "a VLEK is for no chip"
	}
	return ""
}

func version2HasNoCPU(m machine) string {
	if m.version == 2 {
		return "a report of version 2 names no processor"
	}
	return ""
}

// evidenceMutants are wrong in what the report or its certificates are.
func evidenceMutants() []mutant {
	ext := func(tail ...int) func(*sample, *x509.Certificate) {
		return func(_ *sample, c *x509.Certificate) { setExtension(c, nil, tail...) }
	}
	return []mutant{
		{check: "report", name: "short", evidence: func(s *sample) verify.Evidence {
			ev := s.evidence()
			ev.Report = ev.Report[:snp.ReportSize-1]
			return ev
		}},
		edit("report", put[uint32](0, 6)).named("version-6"),
		edit("report", put[uint32](0, 1)).named("version-1"),
		edit("reserved", put[uint8](0x29f, 1)),
		edit("reserved", put[uint8](0x49f, 1)).named("after-signature"),
		edit("reserved", setBit(0x48, 5)).named("key-information"),
		edit("algorithm", put[uint32](0x34, 2)),
		{check: "certificate_table", evidence: func(s *sample) verify.Evidence {
			ev := s.evidence()
			put[uint32](16, 0xFFFFFFF0)(ev.Table)
			put[uint32](20, 0x20)(ev.Table)
			return ev
		}},
		reissue("certificate", ext(3, 8)).named("no-microcode"),
		reissue("certificate", ext(2)).named("no-product"),
		reissue("signer", func(s *sample, c *x509.Certificate) {
			if s.params.VLEK {
				setExtension(c, nil, 5)
				setExtension(c, slices.Repeat([]byte{7}, map[bool]int{true: 8, false: 64}[s.params.Line == snp.Turin]), 4)
				return
			}
			setExtension(c, nil, 4)
			setExtension(c, der(s.t, "somebody", "ia5"), 5)
		}).named("certificate-of-other-kind"),
		reissue("signer", func(s *sample, c *x509.Certificate) {
			setExtension(c, slices.Repeat([]byte{7}, map[bool]int{true: 8, false: 64}[s.params.Line == snp.Turin]), 4)
			setExtension(c, der(s.t, "somebody", "ia5"), 5)
		}).named("certificate-of-both-kinds"),
		edit("signer", put[uint32](0x48, snp.SignerNone<<2)).named("none"),
		{check: "chain", name: "leaf-signature", evidence: func(s *sample) verify.Evidence {
			leaf := s.params.Chain[0]
			return s.with(flipped(leaf, len(leaf)-1))
		}},
		{check: "root_line", name: "other-intermediate", evidence: func(s *sample) verify.Evidence {
			return s.with(s.reissued(map[bool]string{true: "ask", false: "asvk"}[s.params.VLEK], nil))
		}},
		expect("validity", func(e *verify.Expectations) { e.Now = e.Now.AddDate(8, 0, 0) }).named("expired"),
		expect("validity", func(e *verify.Expectations) { e.Now = e.Now.AddDate(-1, 0, 0) }).named("not-yet"),
		{check: "signature", evidence: func(s *sample) verify.Evidence {
			ev := s.evidence()
			ev.Report[snp.SignedSize] ^= 1
			return ev
		}},
		edit("signature", setBit(0x48, 1)).named("masked-chip-key").except(func(m machine) string {
			if m.vlek {
				return "a VLEK is not the chip's key and signs where that one is masked"
			}
			return ""
		}),
		{check: "product", evidence: func(s *sample) verify.Evidence {
			cpu := []byte{0x19, 0x01, 0}
			if s.params.Line == snp.Milan {
				cpu = []byte{0x19, 0x11, 0}
			}
			return s.signed(func(b []byte) { copy(b[0x188:], cpu) })
		}, impossible: version2HasNoCPU},
		{check: "product", name: "unknown", evidence: func(s *sample) verify.Evidence {
			return s.signed(func(b []byte) { copy(b[0x188:], []byte{0x1B, 0, 0}) })
		}, impossible: version2HasNoCPU},
		{check: "product", name: "table-entry", evidence: func(s *sample) verify.Evidence {
			eax := uint32(0x00a00f10) // Milan
			if s.params.Line == snp.Milan {
				eax = 0x00a10f10
			}
			ev := s.evidence()
			ev.Table = s.table(snp.GUIDCPU, binary.LittleEndian.AppendUint32([]byte{8, 0, 0, 0}, eax))
			return ev
		}, impossible: func(m machine) string {
			if m.version != 2 {
				return "the report itself names the processor"
			}
			return ""
		}},
		edit("chip_id", func(b []byte) { b[0x1A0] ^= 1 }).except(vlekNamesNoChip),
		edit("chip_id", func(b []byte) { b[0x1DF] ^= 1 }).named("last-byte").except(vlekNamesNoChip),
		edit("chip_id", func(b []byte) { clear(b[0x1A0:0x1E0]) }).named("masked").except(vlekNamesNoChip),
		edit("tcb_form", put[uint8](0x184, 1)),
		edit("reported_tcb", func(b []byte) { b[0x187]-- }).named("microcode"),
		edit("reported_tcb", func(b []byte) { b[0x180]-- }).named("first-part"),
		edit("tcb_order", func(b []byte) { b[0x1E7]++ }),
		{check: "certificates", evidence: func(s *sample) verify.Evidence { return verify.Evidence{Report: s.report} }},

		expect("crl", func(e *verify.Expectations) { e.CRL = verify.CRLRequired }),
		withCRL("crl_signature", func(s *sample) []byte { crl := currentList(s.t); return flipped(crl, len(crl)-1) }),
		withCRL("crl_signature", func(*sample) []byte { return []byte("hello") }).named("garbage"),
		withCRL("crl_time", func(s *sample) []byte {
			return revocationList(s.t, time.Now().AddDate(0, 0, -30), time.Now().AddDate(0, 0, -1))
		}).named("expired"),
		withCRL("crl_time", func(s *sample) []byte {
			return revocationList(s.t, time.Now().AddDate(0, 0, 1), time.Now().AddDate(0, 0, 30))
		}).named("not-yet"),
		withCRL("revocation", func(s *sample) []byte { return currentList(s.t, s.leaf().SerialNumber) }).named("endorsement-key"),
		withCRL("revocation", func(s *sample) []byte { return currentList(s.t, issuerCert(s.t, s.issuer()).SerialNumber) }).named("intermediate"),
		withCRL("revocation", func(s *sample) []byte { return currentList(s.t, issuerCert(s.t, "ark").SerialNumber) }).named("root"),
	}
}

// reportMutants say something else than was wanted.
func reportMutants() []mutant {
	needsMitigations := func(m machine) string {
		if m.version < 5 {
			return "reports before version 5 have no mitigation vectors to have bits in"
		}
		return ""
	}
	return []mutant{
		edit("vmpl", put[uint32](0x30, 1)),
		edit("vmpl", put[uint32](0x30, 0xFFFFFFFF)).named("by-the-host"),
		expect("vmpl", func(e *verify.Expectations) { e.VMPL = ptr[uint32](1) }).named("other-wanted"),
		edit("policy_reserved", setBit(0x08, 26)).named("bit-26"),
		edit("policy_reserved", setBit(0x08, 63)).named("bit-63"),
		edit("policy_reserved", func(b []byte) { b[0x0A] &^= 2 }).named("bit-17-clear"),
		edit("policy_reserved", setBit(0x08, 25)).named("page-swap-too-early").except(func(m machine) string {
			if m.version >= 5 {
				return "version 5 gave the bit a meaning"
			}
			return ""
		}),
		edit("policy_debug", setBit(0x08, 19)),
		edit("policy_migration", setBit(0x08, 18)),
		expect("policy_smt", func(e *verify.Expectations) { e.GuestPolicy.SMT = false }),
		edit("policy_cxl", setBit(0x08, 21)),
		expect("policy_single_socket", func(e *verify.Expectations) { e.GuestPolicy.SingleSocket = true }),
		expect("policy_aes256_xts", func(e *verify.Expectations) { e.GuestPolicy.AES256XTS = true }),
		expect("policy_rapl_disabled", func(e *verify.Expectations) { e.GuestPolicy.RAPLDisabled = true }),
		expect("policy_ciphertext_hiding", func(e *verify.Expectations) { e.GuestPolicy.CiphertextHiding = true }),
		expect("policy_page_swap_disabled", func(e *verify.Expectations) { e.GuestPolicy.PageSwapDisabled = true }),
		expect("policy_abi", func(e *verify.Expectations) { e.GuestPolicy.MinABI = &verify.ABI{Minor: 55} }),
		{
			check: "platform_reserved", evidence: func(s *sample) verify.Evidence { return s.signed(setBit(0x40, 8)) },
			expect: func(_ *sample, e *verify.Expectations) { e.PlatformInfo = &verify.PlatformLimit{SMT: true} },
		},
		expect("platform_smt", func(e *verify.Expectations) { e.PlatformInfo = &verify.PlatformLimit{} }),
		{
			check: "platform_tio", evidence: func(s *sample) verify.Evidence { return s.signed(setBit(0x40, 7)) },
			expect: func(_ *sample, e *verify.Expectations) { e.PlatformInfo = &verify.PlatformLimit{SMT: true} },
			impossible: func(m machine) string {
				if m.version < 5 {
					return "before version 5 the bit is reserved"
				}
				return ""
			},
		},
		expect("platform_tsme", func(e *verify.Expectations) { e.PlatformInfo = &verify.PlatformLimit{SMT: true, TSME: true} }),
		expect("platform_ecc", func(e *verify.Expectations) { e.PlatformInfo = &verify.PlatformLimit{SMT: true, ECC: true} }),
		expect("platform_rapl_disabled", func(e *verify.Expectations) { e.PlatformInfo = &verify.PlatformLimit{SMT: true, RAPLDisabled: true} }),
		expect("platform_ciphertext_hiding", func(e *verify.Expectations) {
			e.PlatformInfo = &verify.PlatformLimit{SMT: true, CiphertextHiding: true}
		}),
		expect("platform_alias_check", func(e *verify.Expectations) { e.PlatformInfo = &verify.PlatformLimit{SMT: true, AliasCheck: true} }),
		edit("report_data", func(b []byte) { b[0x8F] ^= 1 }),
		edit("host_data", func(b []byte) { clear(b[0xC0:0xE0]) }).named("zero"),
		edit("measurement", func(b []byte) { b[0x90] ^= 1 }),
		expect("guest_svn", func(e *verify.Expectations) { e.MinGuestSVN = ptr[uint32](1) }),
		expect("family_id", func(e *verify.Expectations) { e.FamilyID = &[16]byte{1} }),
		expect("image_id", func(e *verify.Expectations) { e.ImageID = &[16]byte{1} }),
		expect("report_id", func(e *verify.Expectations) { e.ReportID = &[32]byte{} }),
		expect("report_id_ma", func(e *verify.Expectations) { e.ReportIDMA = &[32]byte{} }),
		expect("id_block", func(e *verify.Expectations) { e.RequireIDBlock = true }),
		expect("id_key", func(e *verify.Expectations) { e.IDKeyDigests = [][48]byte{{1}, {2}} }),
		expect("author_key", func(e *verify.Expectations) { e.AuthorKeyDigests = [][48]byte{{}} }).named("no-author"),
		{
			check: "author_key", evidence: func(s *sample) verify.Evidence { return s.signed(setBit(0x48, 0)) },
			expect: func(_ *sample, e *verify.Expectations) { e.AuthorKeyDigests = [][48]byte{{1}} },
		},
		expect("chip_allowed", func(e *verify.Expectations) { e.ChipIDs = [][64]byte{{1}} }),
		{check: "product_allowed", expect: func(s *sample, e *verify.Expectations) {
			e.Products = []string{"Milan"}
			if s.params.Line == snp.Milan {
				e.Products = []string{"Genoa", "Turin Dense"}
			}
		}},
		{check: "signer_allowed", expect: func(s *sample, e *verify.Expectations) {
			e.Signer = verify.SignerVLEK
			if s.params.VLEK {
				e.Signer = verify.SignerVCEK
			}
		}},
		expect("csp_allowed", func(e *verify.Expectations) { e.CSPs = []string{"somebody else"} }),
		{check: "min_version", expect: func(s *sample, e *verify.Expectations) { e.MinVersion = ptr(s.params.ReportVersion + 1) }},
		expect("firmware", func(e *verify.Expectations) { e.MinFirmware = &snp.Firmware{Major: 1, Minor: 55, Build: 30} }),
		edit("firmware", put[uint8](0x1EC, 1)).named("committed").wanting(func(e *verify.Expectations) {
			e.MinFirmware = &snp.Firmware{Major: 1, Minor: 55, Build: 29}
		}),
		edit("provisional", put[uint8](0x1EC, 1)).wanting(func(e *verify.Expectations) { e.RefuseProvisional = true }),
		edit("provisional", func(b []byte) { b[0x1E7]-- }).named("tcb").wanting(func(e *verify.Expectations) { e.RefuseProvisional = true }),
		expect("min_tcb", func(e *verify.Expectations) { e.MinTCB = &snp.TCBParts{SNP: 25} }),
		expect("min_launch_tcb", func(e *verify.Expectations) { e.MinLaunchTCB = &snp.TCBParts{SNP: 25} }),
		expect("launch_mitigation", func(e *verify.Expectations) { e.MinMitigation = &verify.Mitigation{Launch: ptr[uint64](0)} }).named("no-vector").
			except(func(m machine) string {
				if m.version >= 5 {
					return "there is a vector, and it has all of no bits"
				}
				return ""
			}),
		edit("launch_mitigation", put[uint64](0x1F8, 2)).except(needsMitigations).
			wanting(func(e *verify.Expectations) { e.MinMitigation = &verify.Mitigation{Launch: ptr[uint64](3)} }),
		edit("current_mitigation", put[uint64](0x200, 1)).except(needsMitigations).
			wanting(func(e *verify.Expectations) { e.MinMitigation = &verify.Mitigation{Current: ptr[uint64](2)} }),
	}
}

func (m mutant) wanting(f func(*verify.Expectations)) mutant {
	m.expect = func(_ *sample, e *verify.Expectations) { f(e) }
	return m
}
