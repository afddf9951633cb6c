import torch

from epsam.mil.criss_cross import CrissCrossAttention, criss_cross


def random_tensors():
    random = torch.Generator().manual_seed(3)
    query, key = torch.randn(2, 2, 3, 4, 5, generator=random).unbind(0)
    value = torch.randn(2, 6, 4, 5, generator=random)
    return query, key, value


def dense_attention(query, key, value):
    """Attention of each pixel to all, where those of another row and column have no weight."""
    _, _, height, width = query.shape
    rows = torch.arange(height).repeat_interleave(width)
    columns = torch.arange(width).repeat(height)
    crosses = (rows[:, None] == rows) | (columns[:, None] == columns)

    energies = query.flatten(2).transpose(1, 2) @ key.flatten(2)
    weights = energies.masked_fill(~crosses, float("-inf")).softmax(dim=-1)
    attended = value.flatten(2) @ weights.transpose(1, 2)
    return attended.view(value.shape)


def test_criss_cross_attention_is_dense_attention_with_a_mask():
    """In an image that is not square, so that rows and columns cannot be mistaken."""
    query, key, value = random_tensors()
    torch.testing.assert_close(criss_cross(query, key, value), dense_attention(query, key, value))


def test_without_preferences_a_pixel_takes_the_mean_of_its_row_and_column_and_itself_once():
    value = torch.arange(6.0).view(1, 1, 2, 3)
    zeros = torch.zeros(1, 1, 2, 3)
    # 0 1 2
    # 3 4 5: the upper left pixel sees 0, 1, 2 and 3, the lower middle one 1, 3, 4 and 5.
    result = criss_cross(zeros, zeros, value)[0, 0]
    torch.testing.assert_close(result[0, 0], torch.tensor(6 / 4))
    torch.testing.assert_close(result[1, 1], torch.tensor(13 / 4))


def test_attention_changes_nothing_at_the_start_and_reaches_every_pixel_afterwards():
    torch.manual_seed(0)
    attention = CrissCrossAttention(channels=8)
    features = torch.randn(1, 8, 4, 5)
    assert torch.equal(attention(features), features)

    attention.scale.data.fill_(1.0)
    features.requires_grad_()
    # Two passes: the far corner is in neither the row nor the column of the first pixel.
    attention(features)[0, :, 0, 0].sum().backward()
    assert bool((features.grad[0].abs().sum(dim=0) > 0).all())


def test_one_pass_has_the_scale_and_the_features_in_it():
    torch.manual_seed(0)
    attention = CrissCrossAttention(channels=8)
    attention.scale.data.fill_(0.5)
    features = torch.randn(2, 8, 3, 4)
    attended = dense_attention(
        attention.query(features), attention.key(features), attention.value(features)
    )
    torch.testing.assert_close(attention.attend(features), features + 0.5 * attended)
