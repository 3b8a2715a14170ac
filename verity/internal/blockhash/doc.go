// Package blockhash hashes what a verity tree is made of: SHA-256 over a salt and one 4096-byte block.
//
// Why it exists: the SHA-256 instructions of amd64 are bound by their latency. Two independent messages, interleaved
// instruction by instruction, take little longer than one, and a tree has blocks enough. Go's standard library hashes one
// message at a time, at a bit more than half of what a core can do.
//
// What it is: padding and byte order in Go, and one assembly function (compress_amd64.s) that runs SHA-256's compression
// function over two messages of the same length. It reads the blocks where they are, writes to the two states it was given
// and to nothing else, and allocates nothing. It decides nothing: whoever has the digests compares them.
//
// What it falls back to: crypto/sha256, on every machine that is not amd64 or has no SHA extensions, everywhere with the build
// tag purego, and in Go's FIPS 140-3 mode, where only the validated module may hash. The digests are the same; the tests hold
// both ways against crypto/sha256.
package blockhash
