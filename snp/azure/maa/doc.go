// Package maa speaks with Microsoft Azure Attestation: evidence in, a token out, and the token read and verified by the keys that its issuer publishes.
//
// The service's word counts for whoever trusts the service; the evidence itself is judged by package snp/verify, which needs no service. A token is believed only
// with a signature by a key of the issuer that the caller named, within its times, and for the algorithms listed here.
//
// Source: Azure services contract, sections 1.7 and 4.1.
package maa
