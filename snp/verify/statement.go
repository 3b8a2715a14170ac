package verify

import "github.com/cloister-cc/cloister/snp"

// statement judges an endorsement of the measurement, if the caller wants one.
func (v *Verifier) statement(j judge, _ *snp.Report, ev *Evidence, exp *Expectations) {
	if exp.Endorsement == nil {
		j.notAsked(checkEndorsement, checkEndorsementSignature, checkEndorsementIssuer, checkEndorsementFeed, checkEndorsementSVN, checkEndorsementMeasurement)
		return
	}
	j.set(checkEndorsement, len(ev.Endorsement) > 0, "an endorsement", presence(ev.Endorsement))
}

func presence(b []byte) string {
	if len(b) == 0 {
		return "none"
	}
	return number(uint64(len(b))) + " bytes"
}
