// SPDX-License-Identifier: GPL-2.0-or-later
/* Compiles, but must be found to need a symbol that no kernel exports */
void vpc_no_such_symbol(void);
void probe(void);
void probe(void)
{
	vpc_no_such_symbol();
}
