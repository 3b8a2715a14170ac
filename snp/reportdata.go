package snp

import "crypto/sha256"

// hostLabel begins what is hashed for a host that asks the agent for evidence. The host's own nonce must not be able to stand where a workload's
// words do: a workload binds its key by the hash of it, and a host that got a report over the same hash could claim that key's place.
const hostLabel = "cloister/host-evidence/v1\x00"

// HashedReportData is REPORT_DATA over a workload's bytes: SHA-256, then 32 zero bytes.
func HashedReportData(data []byte) [64]byte {
	var out [64]byte
	sum := sha256.Sum256(data)
	copy(out[:], sum[:])
	return out
}

// HostReportData is REPORT_DATA over the nonce of a host that asked the agent: SHA-256 of a label and the nonce, then 32 zero bytes.
func HostReportData(nonce []byte) [64]byte {
	return HashedReportData(append([]byte(hostLabel), nonce...))
}
