//go:build !purego

#include "textflag.h"

// Registers, for stream A and stream B:
//   X1, X2    X7, X8      the state: words A B E F and C D G H, highest first
//   X3-X6     X9-X12      the last sixteen words of the message schedule, four a register
//   X13       X14         scratch
//   X0        both: the words plus constants that SHA256RNDS2 takes implicitly
//   X15       shuffle that turns big endian words into little endian ones
//   R8        the round constants

// RNDS runs four rounds: CONST holds K[i..i+3], M the schedule's W[i..i+3]. Each SHA256RNDS2 runs two rounds and leaves the
// new A B E F in its last operand; what was A B E F before is the new C D G H, so that two of them come back to the same
// names.
#define RNDS(off, M, ABEF, CDGH) \
	MOVOU  off(R8), X0; \
	PADDD  M, X0; \
	SHA256RNDS2 X0, ABEF, CDGH; \
	PSHUFD $0x0e, X0, X0; \
	SHA256RNDS2 X0, CDGH, ABEF

// SCHED replaces the four oldest words of the schedule, W[i-16..i-13] in M0, by W[i..i+3]; M1 to M3 are the younger ones.
#define SCHED(M0, M1, M2, M3, T) \
	SHA256MSG1 M1, M0; \
	MOVO    M3, T; \
	PALIGNR $4, M2, T; \
	PADDD   T, M0; \
	SHA256MSG2 M3, M0

#define LOAD(p, off, M) \
	MOVOU  off(p), M; \
	PSHUFB X15, M

// FIRST runs rounds whose words come from the message, of both streams.
#define FIRST(off, MA, MB) \
	LOAD(SI, off, MA); \
	LOAD(DX, off, MB); \
	RNDS(off, MA, X1, X2); \
	RNDS(off, MB, X7, X8)

// NEXT runs rounds whose words come from the schedule, of both streams.
#define NEXT(off, A0, A1, A2, A3, B0, B1, B2, B3) \
	SCHED(A0, A1, A2, A3, X13); \
	SCHED(B0, B1, B2, B3, X14); \
	RNDS(off, A0, X1, X2); \
	RNDS(off, B0, X7, X8)

// NEXT4 runs sixteen rounds.
#define NEXT4(off) \
	NEXT(off+0, X3, X4, X5, X6, X9, X10, X11, X12); \
	NEXT(off+16, X4, X5, X6, X3, X10, X11, X12, X9); \
	NEXT(off+32, X5, X6, X3, X4, X11, X12, X9, X10); \
	NEXT(off+48, X6, X3, X4, X5, X12, X9, X10, X11)

// func compress2(states *[2]state, a, b *byte, n int)
TEXT ·compress2(SB), NOSPLIT, $64-32
	MOVQ states+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), DX
	MOVQ n+24(FP), CX
	LEAQ ·roundConstants(SB), R8
	MOVOU ·bigEndian(SB), X15
	MOVOU 0(DI), X1
	MOVOU 16(DI), X2
	MOVOU 32(DI), X7
	MOVOU 48(DI), X8

chunk:
	MOVOU X1, 0(SP)
	MOVOU X2, 16(SP)
	MOVOU X7, 32(SP)
	MOVOU X8, 48(SP)

	FIRST(0, X3, X9)
	FIRST(16, X4, X10)
	FIRST(32, X5, X11)
	FIRST(48, X6, X12)
	NEXT4(64)
	NEXT4(128)
	NEXT4(192)

	MOVOU 0(SP), X0
	MOVOU 16(SP), X13
	MOVOU 32(SP), X14
	MOVOU 48(SP), X3
	PADDD X0, X1
	PADDD X13, X2
	PADDD X14, X7
	PADDD X3, X8

	ADDQ $64, SI
	ADDQ $64, DX
	DECQ CX
	JNZ  chunk

	MOVOU X1, 0(DI)
	MOVOU X2, 16(DI)
	MOVOU X7, 32(DI)
	MOVOU X8, 48(DI)
	RET

// func cpuid(leaf, subleaf uint32) (eax, ebx, ecx uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-20
	MOVL leaf+0(FP), AX
	MOVL subleaf+4(FP), CX
	CPUID
	MOVL AX, eax+8(FP)
	MOVL BX, ebx+12(FP)
	MOVL CX, ecx+16(FP)
	RET

DATA ·bigEndian+0(SB)/8, $0x0405060700010203
DATA ·bigEndian+8(SB)/8, $0x0c0d0e0f08090a0b
GLOBL ·bigEndian(SB), RODATA|NOPTR, $16

// The round constants, two a line (FIPS 180-4, section 4.2.2).
DATA ·roundConstants+0(SB)/8, $0x71374491428a2f98
DATA ·roundConstants+8(SB)/8, $0xe9b5dba5b5c0fbcf
DATA ·roundConstants+16(SB)/8, $0x59f111f13956c25b
DATA ·roundConstants+24(SB)/8, $0xab1c5ed5923f82a4
DATA ·roundConstants+32(SB)/8, $0x12835b01d807aa98
DATA ·roundConstants+40(SB)/8, $0x550c7dc3243185be
DATA ·roundConstants+48(SB)/8, $0x80deb1fe72be5d74
DATA ·roundConstants+56(SB)/8, $0xc19bf1749bdc06a7
DATA ·roundConstants+64(SB)/8, $0xefbe4786e49b69c1
DATA ·roundConstants+72(SB)/8, $0x240ca1cc0fc19dc6
DATA ·roundConstants+80(SB)/8, $0x4a7484aa2de92c6f
DATA ·roundConstants+88(SB)/8, $0x76f988da5cb0a9dc
DATA ·roundConstants+96(SB)/8, $0xa831c66d983e5152
DATA ·roundConstants+104(SB)/8, $0xbf597fc7b00327c8
DATA ·roundConstants+112(SB)/8, $0xd5a79147c6e00bf3
DATA ·roundConstants+120(SB)/8, $0x1429296706ca6351
DATA ·roundConstants+128(SB)/8, $0x2e1b213827b70a85
DATA ·roundConstants+136(SB)/8, $0x53380d134d2c6dfc
DATA ·roundConstants+144(SB)/8, $0x766a0abb650a7354
DATA ·roundConstants+152(SB)/8, $0x92722c8581c2c92e
DATA ·roundConstants+160(SB)/8, $0xa81a664ba2bfe8a1
DATA ·roundConstants+168(SB)/8, $0xc76c51a3c24b8b70
DATA ·roundConstants+176(SB)/8, $0xd6990624d192e819
DATA ·roundConstants+184(SB)/8, $0x106aa070f40e3585
DATA ·roundConstants+192(SB)/8, $0x1e376c0819a4c116
DATA ·roundConstants+200(SB)/8, $0x34b0bcb52748774c
DATA ·roundConstants+208(SB)/8, $0x4ed8aa4a391c0cb3
DATA ·roundConstants+216(SB)/8, $0x682e6ff35b9cca4f
DATA ·roundConstants+224(SB)/8, $0x78a5636f748f82ee
DATA ·roundConstants+232(SB)/8, $0x8cc7020884c87814
DATA ·roundConstants+240(SB)/8, $0xa4506ceb90befffa
DATA ·roundConstants+248(SB)/8, $0xc67178f2bef9a3f7
GLOBL ·roundConstants(SB), RODATA|NOPTR, $256
