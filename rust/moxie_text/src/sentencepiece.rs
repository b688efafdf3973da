//! SentencePiece BPE stores a score for each piece and no merges. The merges are every cut of a
//! piece into two pieces, the better score first, as transformers derives them
//! (convert_slow_tokenizer.generate_merges). Applied by rank, they give SentencePiece's own result.

use ahash::AHashMap;

use crate::error::{Failure, Outcome};

/// Longest piece of a SentencePiece BPE vocabulary in bytes: the cuts of a piece cost the square of
/// its length. Published ones stay below 100 (runs of spaces).
const MAX_PIECE: usize = 512;

struct Cut {
    score: f32,
    left_chars: usize,
    right_chars: usize,
    left: u32,
    right: u32,
}

/// `pieces`: text, id and score of every piece that text may become.
pub fn merges(pieces: &[(&str, u32, f32)]) -> Outcome<Vec<(String, String)>> {
    let ids: AHashMap<&str, u32> = pieces.iter().map(|piece| (piece.0, piece.1)).collect();
    let mut cuts = Vec::new();
    for &(text, _, score) in pieces {
        if text.len() > MAX_PIECE {
            return Err(Failure::corrupt(format!(
                "a token has {} bytes; at most {MAX_PIECE} are accepted in a SentencePiece vocabulary",
                text.len()
            )));
        }
        let first = cuts.len();
        let chars = text.chars().count();
        for (before, (at, _)) in text.char_indices().enumerate().skip(1) {
            let (left, right) = text.split_at(at);
            if let (Some(&left), Some(&right)) = (ids.get(left), ids.get(right)) {
                let right_chars = chars - before;
                cuts.push(Cut {
                    score,
                    left_chars: before,
                    right_chars,
                    left,
                    right,
                });
            }
        }
        cuts[first..].sort_by_key(|cut| (cut.left, cut.right));
    }
    // Stable: cuts that tie keep the order of their pieces.
    cuts.sort_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then(b.left_chars.cmp(&a.left_chars))
            .then(b.right_chars.cmp(&a.right_chars))
    });
    let texts: AHashMap<u32, &str> = pieces.iter().map(|piece| (piece.1, piece.0)).collect();
    Ok(cuts
        .iter()
        .map(|cut| (texts[&cut.left].into(), texts[&cut.right].into()))
        .collect())
}
