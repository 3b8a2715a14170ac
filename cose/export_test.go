package cose

// ReadLedgers is for the fuzzer: the payload is behind a signature otherwise.
var ReadLedgers = readLedgers
