"""Why a row is anomalous: what each column carries of its score, and what would be normal instead."""
