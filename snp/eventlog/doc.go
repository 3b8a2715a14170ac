// Package eventlog keeps what happened in a guest as an append-only list whose every entry is bound into one hash, so that a relying
// party that is given the hash in evidence can see what was started, run or refused beside the workload that sent it.
//
// An entry is deterministic CBOR. The head after an entry is
//
//	head' = SHA-256("cloister/eventlog/v1" || head || SHA-256(entry))
//
// and begins as 32 zero bytes. Entries carry their number, so none can be dropped, exchanged or put elsewhere. Memory is
// bounded: the oldest entries are folded into the head before the first one that is kept, which an excerpt shows by First > 0. Folding
// loses what an entry said and not that it was there; before the last entry that says how the agent was run would be folded, a summary
// with the same words and the number of entries of each kind is appended.
//
// Trusted: the agent, which alone appends. What the host controls is how many entries there are and, within the bounds of each field, some
// of the words in them. An excerpt on its way to a relying party is in the host's hands: Parse bounds it before it allocates and refuses
// every other spelling of the same content, Verify replays the chain. Neither says that the head is the guest's: whoever calls compares it with
// the head in the evidence.
//
// Entries are redacted by construction: each kind has the fields that the table of kinds gives it, and everything else that an
// entry holds is dropped. No kind has a field for environment variables, arguments, paths the host named, file contents or keys; where a
// command has to be told from another, its digest stands for it. Appending never fails and never waits for anything but another
// append: text that is too long is cut, with a mark.
package eventlog
