// Package entry reads what a policy defines as data: containers, external processes, fragments, platform rules and trust
// lists, as typed structs, and says whether the rest of the policy only delegates to the framework.
//
// A policy's text is the workload owner's, but nobody has compared its digest with anything when a tool reads it, so every
// byte counts as hostile: sizes and depths are bounded, and a text that is not understood completely is not guessed at.
// There are two readers of the lists. The fast one accepts a strict subset of JSON literals; what it does not accept is no
// error, but left to the engine's own parser, whose syntax tree the second reader converts. Whatever the fast reader accepts, the
// engine evaluates to the same value (FuzzReaderAgreesWithOPA). A policy whose data has a shape that these structs cannot
// hold exactly, or that has rules of its own, is not plain: Read says so, and the engine judges it.
package entry
