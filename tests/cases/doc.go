// Package cases makes ACI policies and sequences of requests to judge by them, from a seed: the same seed and options give
// the same case, byte for byte, on every machine. Tests compare judges with each other over them; nothing here says what
// the right answer is.
//
// A case is a policy of one to six containers and some twenty requests. Containers are often near-twins, which differ in
// one field only, since telling those apart is where judges go wrong. The requests follow a legal order of events (disks,
// overlay, create, exec, signals, unmounts) and carry what the policy asks for; before most steps the same request is tried
// with one thing changed. Steps out of order, ids used again and unknown targets are mixed in. Odd policies, with fields
// that are missing or of the wrong type, are made only when asked for.
package cases
