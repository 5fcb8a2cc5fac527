/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that writes to its RAM when it is told: the last KiB of a ROM
 * that takes the firmware's place
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * It writes nothing that it is not told to: it has no stack and no interrupts,
 * and its page tables stand in the ROM, with all accessed and dirty bits set.
 * Orders and answers go through registers that devices keep and migration
 * transfers: a byte in the scratch register of each of three serial ports, and
 * some CMOS RAM.  The other side is tests/qtest/migration/writer.c.
 *
 * In 64-bit mode, because there are implementations of KVM that run nothing
 * else but by emulating each instruction.
 */
#include "writer-layout.h"

/* the ROM ends where 32-bit addresses do; symbols are offsets in its page */
#define LINEAR(symbol)  (WRITER_ROM_CODE + (symbol) - start)

/* Reads 32 bits of CMOS RAM. */
.macro cmos index, reg
        xor     \reg, \reg
        .irp    byte, 3, 2, 1, 0
        mov     $\index + \byte, %al
        out     %al, $0x70
        in      $0x71, %al
        movzbl  %al, %eax
        shl     $8, \reg
        or      %eax, \reg
        .endr
.endm

        .text
        .globl  start
        .code16
start:
        cli
        lgdtl   %cs:(0x10000 - WRITER_CODE_SIZE + gdtdesc - start)
        mov     $0x20, %eax                     /* PAE */
        mov     %eax, %cr4
        mov     $WRITER_ROM_PML4, %eax
        mov     %eax, %cr3
        mov     $0xc0000080, %ecx               /* EFER.LME */
        xor     %edx, %edx
        mov     $0x100, %eax
        wrmsr
        mov     $0x80000001, %eax               /* paging, protected */
        mov     %eax, %cr0
        ljmpl   $8, $LINEAR(long_mode)

        .code64
long_mode:
        mov     $16, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        xor     %ebx, %ebx                      /* the last order */

next:
        mov     $WRITER_ORDER, %edx
1:      pause
        in      (%dx), %al
        cmp     %bl, %al
        je      1b
        mov     %al, %bl

        cmos    WRITER_CMOS_ADDR, %esi
        cmos    WRITER_CMOS_PAGES, %r8d
        cmos    WRITER_CMOS_STRIDE, %r9d
        cmos    WRITER_CMOS_VALUE, %edi
        cmos    WRITER_CMOS_SWEEPS, %r10d
        mov     $WRITER_TAKEN, %edx
        mov     %bl, %al
        out     %al, (%dx)
        test    %r8d, %r8d
        jz      answer

sweep:
        mov     %rsi, %rcx
        mov     %r8d, %edx
2:      mov     %edi, WRITER_FIRST(%rcx)
        mov     %edi, WRITER_LAST(%rcx)
        add     %r9, %rcx
        dec     %edx
        jz      3f
        /*
         * Leave the guest now and then.  A KVM that emulates many instructions
         * at once does not look meanwhile whether its dirty ring is full, and
         * has only some entries to spare.
         */
        test    $15, %dl
        jnz     2b
        in      $0x71, %al
        jmp     2b
3:

        /* once more, unless that was all or there is another order */
        mov     $WRITER_ORDER, %edx
        in      (%dx), %al
        cmp     %bl, %al
        jne     done
        dec     %r10d
        jz      done
        inc     %edi
        jmp     sweep

done:
        mov     %edi, %ecx                      /* the last value */
        .irp    byte, 0, 1, 2, 3
        mov     $WRITER_CMOS_RESULT + \byte, %al
        out     %al, $0x70
        mov     %cl, %al
        out     %al, $0x71
        shr     $8, %ecx
        .endr
answer:
        mov     $WRITER_ANSWER, %edx
        mov     %bl, %al
        out     %al, (%dx)
        jmp     next

        .balign 8, 0x90
gdt:
        .quad   0
        .quad   0x00af9b000000ffff              /* 64-bit code */
        .quad   0x00cf93000000ffff              /* data */
gdtdesc:
        .word   . - gdt - 1
        .long   LINEAR(gdt)

        .org    WRITER_CODE_SIZE - 16
        .code16
        .byte   0xe9                            /* jmp start, from reset */
        .word   start - (. + 2)
        .org    WRITER_CODE_SIZE
