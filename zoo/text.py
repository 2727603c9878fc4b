"""Text, speech and recurrent models of the zoo, full size and tiny; all from configurations, none downloaded."""

from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F


class Tokens(nn.Module):
    """A model of transformers that is called with tokens and their mask."""

    def __init__(self, inner: nn.Module, result: str = "last_hidden_state", **fixed: Any) -> None:
        super().__init__()
        self.inner = inner
        self.result = result
        self.fixed = fixed

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The tensor called `result`."""
        return self.inner(input_ids=input_ids, attention_mask=attention_mask, **self.fixed)[self.result]


class Features(nn.Module):
    """A model of transformers that is called with sound features."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input_features: Tensor) -> Tensor:
        """Hidden states."""
        return self.inner(input_features).last_hidden_state


def tokens(batch: int, length: int, vocabulary: int, padded: int = 0) -> tuple[Tensor, ...]:
    """Token numbers and a mask whose last row ends in `padded` zeros."""
    mask = torch.ones(batch, length, dtype=torch.int64)
    if padded:
        mask[-1, -padded:] = 0
    return torch.randint(0, vocabulary, (batch, length)), mask


def bert(small: bool) -> nn.Module:
    """BERT-base (Devlin et al. 2019)."""
    config = transformers.BertConfig()
    if small:
        config = transformers.BertConfig(
            vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=24,
        )  # fmt: skip
    return Tokens(transformers.BertModel(config, add_pooling_layer=False))


def distilbert(small: bool) -> nn.Module:
    """DistilBERT (Sanh et al. 2019)."""
    config = transformers.DistilBertConfig()
    if small:
        config = transformers.DistilBertConfig(
            vocab_size=64, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=24
        )
    return Tokens(transformers.DistilBertModel(config))


def gpt2(small: bool) -> nn.Module:
    """GPT-2 (Radford et al. 2019) with its language head."""
    config = transformers.GPT2Config(use_cache=False)
    if small:
        config = transformers.GPT2Config(vocab_size=64, n_positions=24, n_embd=16, n_layer=2, n_head=2, use_cache=False)
    return Tokens(transformers.GPT2LMHeadModel(config), "logits", use_cache=False)


def t5_encoder(small: bool) -> nn.Module:
    """Encoder of T5-small (Raffel et al. 2020)."""
    config = transformers.T5Config(num_layers=6, d_model=512, d_ff=2048, num_heads=8)
    if small:
        config = transformers.T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    return Tokens(transformers.T5EncoderModel(config))


def llama(small: bool) -> nn.Module:
    """Two layers of Llama (Touvron et al. 2023) with grouped heads."""
    size = dict(vocab_size=64, hidden_size=16, intermediate_size=32, num_attention_heads=4, num_key_value_heads=2)
    if not small:
        size = dict(
            vocab_size=4096, hidden_size=1024, intermediate_size=2816, num_attention_heads=16, num_key_value_heads=4
        )
    config = transformers.LlamaConfig(num_hidden_layers=2, use_cache=False, max_position_embeddings=512, **size)
    return Tokens(transformers.LlamaForCausalLM(config), "logits", use_cache=False)


def whisper_encoder(small: bool) -> nn.Module:
    """Encoder of Whisper-tiny (Radford et al. 2022)."""
    config = transformers.WhisperConfig()
    if small:
        config = transformers.WhisperConfig(
            d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=32, num_mel_bins=8,
            max_source_positions=20, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=8, vocab_size=64,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        )  # fmt: skip
    return Features(transformers.WhisperModel(config).get_encoder())


class Recurrent(nn.Module):
    """Embedding, a recurrent network and a head on its last states."""

    def __init__(self, kind: type[nn.RNNBase], vocabulary: int, width: int, bidirectional: bool, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.recurrent = kind(width, width, layers, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(width * (1 + bidirectional), 8)

    def forward(self, token: Tensor) -> tuple[Tensor, Tensor]:
        """Scores per token and the last states."""
        states, last = self.recurrent(self.embedding(token))
        return self.head(states), last[0] if isinstance(last, tuple) else last


def bilstm(small: bool) -> nn.Module:
    """A bidirectional LSTM of two layers."""
    return Recurrent(nn.LSTM, 32, 8, True, 2) if small else Recurrent(nn.LSTM, 4096, 256, True, 2)


def gru(small: bool) -> nn.Module:
    """A GRU of two layers."""
    return Recurrent(nn.GRU, 32, 8, False, 2) if small else Recurrent(nn.GRU, 4096, 256, False, 2)


class Causal(nn.Module):
    """A residual block of dilated causal convolutions."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.left = 2 * dilation
        self.first = nn.Conv1d(width, width, 3, dilation=dilation)
        self.second = nn.Conv1d(width, width, 3, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        y = F.relu(self.first(F.pad(x, (self.left, 0))))
        y = F.relu(self.second(F.pad(y, (self.left, 0))))
        return F.relu(x + y)


class TemporalCNN(nn.Module):
    """Temporal convolutional network (Bai et al. 2018)."""

    def __init__(self, channels: int, width: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Conv1d(channels, width, 1)
        self.blocks = nn.Sequential(*(Causal(width, 1 << i) for i in range(blocks)))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores."""
        return self.head(self.blocks(self.stem(x)).mean(-1))


def temporal_cnn(small: bool) -> nn.Module:
    """Eight dilated blocks."""
    return TemporalCNN(4, 8, 3) if small else TemporalCNN(16, 64, 8)


def mlp(small: bool) -> nn.Module:
    """Twenty linear layers with rectifiers."""
    width, depth = (8, 20) if small else (512, 20)
    layers: list[nn.Module] = []
    for _ in range(depth):
        linear = nn.Linear(width, width)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Branches(nn.Module):
    """Runs a cell a number of times that is data, with a branch on a sum that is data."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.other = nn.Linear(width, width)

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        """Same shape as `x`."""
        for _ in range(int(times)):
            if bool(x.sum() > 0):
                x = torch.tanh(self.inner(x)) - 0.1
            else:
                x = torch.sigmoid(self.other(x)) + x
        return x


def branches(small: bool) -> nn.Module:
    """A model with If and Loop."""
    return torch.jit.script(Branches(8 if small else 256))
