// Package coco is the evidence that Confidential Containers' agents hand out for SEV-SNP, and their verifiers take: one JSON document with the report by
// fields, and the certificates the host gave (attestation contract, section 4.1). It writes the form and reads it back.
//
// Nothing that is read is trusted: a document is turned into the bytes of a report, which then have to verify like any other report. What does not come out as
// it went in is refused: a member that is missing, null, there twice or unknown, a number out of range, a byte string of another length, a
// field that the report's version does not have. Otherwise one document could mean different reports to two readers.
package coco
