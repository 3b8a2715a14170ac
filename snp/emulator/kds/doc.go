// Package kds serves an emulator authority's certificates over HTTP as AMD's key server (KDS) and a cloud's host service (THIM) serve the real ones:
// the same paths, parameters, encodings and refusals, for tests and development of what fetches from there.
//
// It protects nothing, as the authority behind it: every certificate says "Cloister TEST ONLY - not AMD". Listen takes loopback addresses only.
// Requests are untrusted all the same: paths and parameters are bounded and parsed strictly, and what is kept of them is bounded.
package kds
