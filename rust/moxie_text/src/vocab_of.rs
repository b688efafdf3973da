//! A tokenizer as the vocabulary of a GGUF file: the reverse of gguf_vocab.rs, as one JSON object
//! whose big members are lists: model, tokens, types, scores, merges, charsmap, added (id, content).

use ahash::AHashMap;
use serde_json::{json, Value};

use crate::error::{Failure, Outcome, Status};
use crate::gguf_vocab::{BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED};

fn refused(what: impl std::fmt::Display) -> Failure {
    Failure::new(
        Status::Unknown,
        format!("{what}, which a GGUF file cannot hold; export it as hf"),
    )
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// True where the object, or one inside it, has this "type".
fn holds(value: &Value, kind: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| holds(item, kind)),
        Value::Object(fields) => {
            fields.get("type").is_some_and(|t| t == kind)
                || fields.values().any(|field| holds(field, kind))
        }
        _ => false,
    }
}

fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Array(items) => items.iter().find_map(|item| find(item, key)),
        Value::Object(fields) => fields
            .get(key)
            .or_else(|| fields.values().find_map(|field| find(field, key))),
        _ => None,
    }
}

fn model_name(whole: &Value) -> Outcome<&'static str> {
    let model = &whole["model"];
    match text(&model["type"]) {
        "BPE" => {
            for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
                if !text(&model[key]).is_empty() {
                    return Err(refused(format!("the tokenizer has a {key}")));
                }
            }
            if model["byte_fallback"] == true {
                Ok("llama")
            } else if holds(&whole["pre_tokenizer"], "ByteLevel") {
                Ok("gpt2")
            } else {
                Err(refused(
                    "the tokenizer is BPE over characters without bytes to fall back on",
                ))
            }
        }
        "Unigram" => Ok("t5"),
        other => Err(refused(format!("the tokenizer is a {other} model"))),
    }
}

/// Pieces by id, as the model and the added tokens spell them.
fn pieces(whole: &Value) -> Outcome<Vec<Option<String>>> {
    let vocab = &whole["model"]["vocab"];
    let mut all: Vec<(usize, &str)> = match vocab {
        Value::Object(ids) => ids
            .iter()
            .map(|(piece, id)| (id.as_u64().unwrap_or(u64::MAX) as usize, piece.as_str()))
            .collect(),
        _ => list(vocab)
            .iter()
            .enumerate()
            .map(|(id, entry)| (id, text(&entry[0])))
            .collect(),
    };
    for token in list(&whole["added_tokens"]) {
        all.push((
            token["id"].as_u64().unwrap_or(u64::MAX) as usize,
            text(&token["content"]),
        ));
    }
    let size = all.iter().map(|(id, _)| id + 1).max().unwrap_or(0);
    let mut pieces = vec![None; size];
    for (id, piece) in all {
        pieces[id] = Some(piece.to_string());
    }
    Ok(pieces)
}

fn is_byte(piece: &str) -> bool {
    piece.len() == 6
        && piece.starts_with("<0x")
        && piece.ends_with('>')
        && piece[3..5].bytes().all(|b| b.is_ascii_hexdigit())
}

fn types(whole: &Value, model: &str, pieces: &[Option<String>]) -> Vec<i32> {
    let byte_fallback = whole["model"]["byte_fallback"] == true;
    let mut types: Vec<i32> = pieces
        .iter()
        .map(|piece| match piece {
            None => UNUSED,
            Some(piece) if byte_fallback && is_byte(piece) => BYTE,
            _ => NORMAL,
        })
        .collect();
    for token in list(&whole["added_tokens"]) {
        let special = token["special"] == true;
        types[token["id"].as_u64().unwrap_or(0) as usize] =
            if special { CONTROL } else { USER_DEFINED };
    }
    let unknown = match &whole["model"]["unk_id"] {
        Value::Number(id) => id.as_u64().map(|id| id as usize),
        _ => {
            let unk = whole["model"]["unk_token"].as_str();
            pieces
                .iter()
                .position(|p| p.is_some() && p.as_deref() == unk)
        }
    };
    if let Some(kind) = unknown.and_then(|id| types.get_mut(id)) {
        if model != "gpt2" {
            *kind = UNKNOWN;
        }
    }
    types
}

fn merge_parts(merge: &Value) -> (&str, &str) {
    match merge {
        Value::String(pair) => pair.split_once(' ').unwrap_or((pair, "")),
        pair => (text(&pair[0]), text(&pair[1])),
    }
}

/// SentencePiece prefers the better score where BPE prefers the earlier merge: a piece gets the
/// negative of the place at which it is first made. What no merge makes stands on its own, as the
/// single characters do, behind all the others.
fn scores_by_rank(merges: &[Value], pieces: &[Option<String>]) -> Vec<f32> {
    let mut rank: AHashMap<String, usize> = AHashMap::new();
    for merge in merges {
        let (left, right) = merge_parts(merge);
        let next = rank.len();
        rank.entry([left, right].concat()).or_insert(next);
    }
    pieces
        .iter()
        .map(|piece| {
            let at = piece.as_ref().and_then(|piece| rank.get(piece));
            -(*at.unwrap_or(&rank.len()) as f32)
        })
        .collect()
}

fn charsmap(whole: &Value) -> Outcome<Vec<u8>> {
    match find(&whole["normalizer"], "precompiled_charsmap") {
        None => Ok(vec![]),
        Some(encoded) => from_base64(text(encoded)),
    }
}

pub fn from_base64(encoded: &str) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::with_capacity(encoded.len() / 4 * 3);
    let mut word = 0u32;
    let mut bits = 0;
    for digit in encoded.trim_end_matches('=').bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(Failure::corrupt("precompiled_charsmap is not base64")),
        };
        word = word << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    Ok(bytes)
}

pub fn vocab_of(tokenizer_json: &str) -> Outcome<String> {
    let whole: Value = serde_json::from_str(tokenizer_json).map_err(Failure::corrupt)?;
    let model = model_name(&whole)?;
    let pieces = pieces(&whole)?;
    let merges = list(&whole["model"]["merges"]);
    let scores = match model {
        "llama" => scores_by_rank(merges, &pieces),
        "t5" => list(&whole["model"]["vocab"])
            .iter()
            .map(|entry| entry[1].as_f64().unwrap_or(0.0) as f32)
            .chain(std::iter::repeat(0.0))
            .take(pieces.len())
            .collect(),
        _ => vec![],
    };
    let pairs: Vec<String> = match model {
        "gpt2" => merges
            .iter()
            .map(|merge| {
                let (left, right) = merge_parts(merge);
                format!("{left} {right}")
            })
            .collect(),
        _ => vec![],
    };
    let added: Vec<Value> = list(&whole["added_tokens"])
        .iter()
        .map(|token| json!({"id": token["id"], "content": token["content"]}))
        .collect();
    let out = json!({
        "model": model,
        "types": types(&whole, model, &pieces),
        "tokens": pieces,
        "scores": scores,
        "merges": pairs,
        "charsmap": charsmap(&whole)?,
        "added": added,
    });
    Ok(out.to_string())
}
